"""Logs of many services: events, web-server lines, broker lines. What only this system needs is its simulator."""
