"""Spark's side: Kafka to bronze, silver and quarantine with Structured Streaming and Delta, as a Spark engineer would write it.

Belongs here: the session, the two queries, their settings. Imports nothing of ours: it runs in the environment that `make peer`
makes, and is asked line by line on standard input (`worker.py`).

The work is the contract's: bronze is every record with its coordinates; silver is typed, checked (required, enumerations,
bounds, lengths, no time ahead), the user id replaced by a salted SHA-256, e-mails, card numbers and network addresses taken
out of the message, duplicates dropped within the contract's window; what fails a check goes to quarantine with its reason,
under a key of its own that no other record shares. One query lands bronze, another transforms, both from Kafka and at once.

Settings: two cores and a heap of 4 GB; as many shuffle partitions as cores; everything that waits in one trigger
(`availableNow`), no empty batch after it; files of a Delta partition written without a sort; what a batch needs twice is
cached; idempotent Delta writes (`txnVersion`). Adaptive execution is off, as Spark does by itself for stateful queries.
Measured and not used: several smaller triggers (twice the processor time), state in RocksDB (a little more).

Spared, so Spark's figures flatter it: HMAC; members that the contract does not name (`attributes`); record headers; JSON's
traps (a member twice, depth, NaN, a number where a text is due); excerpts in quarantine; content hash and feed; files synced
to disk; epochs that fence two writers; whatever `assay prove` needs. Events later than the window are lost without a word.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DoubleType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

CORES = 2
TYPES: dict[str, DataType] = {
    "string": StringType(),
    "integer": LongType(),
    "number": DoubleType(),
    "boolean": BooleanType(),
    "timestamp": TimestampType(),
}
MAYBE_CARD = r"\d{4}[ -]?\d{4,6}[ -]?\d{4}"


def session(request: dict[str, Any]) -> SparkSession:
    """Starts the virtual machine, reachable from this machine only."""
    settings = {
        "spark.driver.memory": "4g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraClassPath": os.pathsep.join(request["jars"]),
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={request['scratch']}",
        "spark.local.dir": request["scratch"],
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.warehouse.dir": f"{request['scratch']}/warehouse",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.databricks.delta.snapshotPartitions": CORES,
        "spark.sql.shuffle.partitions": CORES,
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        "spark.sql.maxConcurrentOutputFileWriters": 8,
    }
    os.makedirs(request["scratch"], exist_ok=True)  # noqa: PTH103 - nothing else here needs a Path
    builder = SparkSession.builder.master(f"local[{CORES}]").appName("peer")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def drain(spark: SparkSession, request: dict[str, Any]) -> None:
    """Everything that `topic` holds now into the tables at `tables`; raises what a query raised."""
    source = spark.readStream.format("kafka").options(**{f"kafka.{k}": v for k, v in request["kafka"].items()})
    records = (
        source.option("subscribe", request["topic"])
        .option("startingOffsets", "earliest")
        .option("groupIdPrefix", "assay-peer")
        .option("kafka.isolation.level", "read_committed")
        .load()
        .withColumn("landed_at", F.current_timestamp())
        .withColumn("landed_date", F.to_date("landed_at"))
        .withColumnsRenamed(
            {"topic": "_source", "partition": "_shard", "offset": "_position", "timestamp": "record_time"}
        )
        .drop("timestampType")
    )
    for query in [_land(records, request), _transform(records, request)]:
        query.awaitTermination()


def _land(records: DataFrame, request: dict[str, Any]) -> StreamingQuery:
    """Bronze: the raw bytes, by landing date."""
    writer = records.writeStream.format("delta").partitionBy("landed_date").trigger(availableNow=True)
    return writer.option("checkpointLocation", f"{request['checkpoints']}/bronze").start(request["tables"]["bronze"])


def _transform(records: DataFrame, request: dict[str, Any]) -> StreamingQuery:
    """Silver by event date, and quarantine by landing date."""
    fields, time = request["fields"], request["event_time"]
    schema = StructType([StructField(field["source"], TYPES[field["type"]]) for field in fields])
    parsed = F.from_json(
        F.col("value").cast("string"),
        schema.add("_broken", StringType()),
        {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "_broken"},
    )
    place = ["_source", "_shard", "_position", "landed_at", "landed_date", "record_time"]
    values = [F.col(f"_event.{field['source']}").alias(field["name"]) for field in fields]
    sound = (
        records.select(*place, parsed.alias("_event"))
        .select(*place, *values, F.col("_event._broken").alias("_broken"))
        .withColumn("_reason", _reason(fields, time, request["ahead_s"]))
        .drop("_broken")
    )
    good = F.col("_reason").isNull()
    key = F.concat_ws("\0", *request["key"])
    unique = (
        sound.withColumn("_key", F.when(good, key).otherwise(F.concat_ws(".", "_shard", "_position")))
        .withColumn("_time", F.when(good, F.col(time)).otherwise(F.col("record_time")))
        .withWatermark("_time", f"{request['window_s']:.0f} seconds")
        .dropDuplicatesWithinWatermark(["_key"])
    )
    stored = [_stored(field, request).alias(field["name"]) for field in fields]
    rows = unique.select(*place, *stored, F.to_date(time).alias("event_date"), "_reason")
    tables, writer_id = request["tables"], uuid.uuid4().hex

    def write(batch: DataFrame, number: int) -> None:
        batch.persist()
        once = {"txnAppId": writer_id, "txnVersion": str(number)}
        for layer, day, part in (
            ("silver", "event_date", batch.where("_reason IS NULL").drop("_reason", "landed_date")),
            ("quarantine", "landed_date", batch.where("_reason IS NOT NULL").select(*place, "_reason")),
        ):
            part.write.format("delta").mode("append").options(**once).partitionBy(day).save(tables[layer])
        batch.unpersist()

    writer = rows.writeStream.foreachBatch(write).trigger(availableNow=True)
    return writer.option("checkpointLocation", f"{request['checkpoints']}/silver").start()


def _reason(fields: list[dict[str, Any]], time: str, ahead_s: float) -> Column:
    """Why a record is refused; null for one that keeps the contract."""
    cases = [(F.col("_broken").isNotNull(), "malformed")]
    for field in fields:
        name, column = field["name"], F.col(field["name"])
        if field["required"]:
            cases.append((column.isNull(), f"missing:{name}"))
        if field["enum"]:
            cases.append((~column.isin(field["enum"]), f"enum:{name}"))
        if field["minimum"] is not None:
            cases.append((column < field["minimum"], f"range:{name}"))
        if field["maximum"] is not None:
            cases.append((column > field["maximum"], f"range:{name}"))
        if field["max_length"] is not None:
            cases.append((F.length(column) > field["max_length"], f"length:{name}"))
    ahead = F.col("landed_at") + F.expr(f"INTERVAL {ahead_s:.0f} SECONDS")
    cases += [(F.col(time) > ahead, "future"), (F.col(time) < F.lit("1970-01-01").cast("timestamp"), "before_1970")]
    return F.coalesce(*[F.when(condition, F.lit(reason)) for condition, reason in cases])


def _stored(field: dict[str, Any], request: dict[str, Any]) -> Column:
    """The value as silver keeps it: masked, scrubbed, or as it is."""
    column = F.col(field["name"])
    if field["mask"] == "hmac":
        return F.left(F.sha2(F.concat(F.lit(request["salt"]), column), 256), F.lit(32))
    if field["mask"] in ("scrub", "scrub_addresses"):
        clean = F.regexp_replace(column, request["email"], "[email]")
        clean = F.regexp_replace(clean, rf"(?<![0-9.]){request['card']}", "[card]")
        suspicious = column.contains("@") | column.contains("%40") | column.rlike(MAYBE_CARD)
        clean = F.when(suspicious, clean).otherwise(column)
        if field["mask"] == "scrub":
            return clean
        without = F.regexp_replace(clean, request["address"], "$1$2$3[ip]")
        return F.when(column.rlike(request["maybe_address"]), without).otherwise(clean)
    return column


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # the virtual machine inherits this one; what it prints goes to the log
    spark = None
    for line in sys.stdin:
        asked = json.loads(line)
        spark = spark or session(asked)
        drain(spark, asked)
        system = spark.sparkContext._jvm.System
        java = f"{system.getProperty('java.vendor')} {system.getProperty('java.version')}"
        print(json.dumps({"spark": spark.version, "java": java}), file=answers)
    if spark is not None:
        spark.stop()
