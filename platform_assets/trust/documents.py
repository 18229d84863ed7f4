"""stub"""
class DocumentProof:
    def __init__(self,*a): pass
    def read(self): pass
    def compare(self, job): pass
