"""Writes the files of this directory; needs numpy and pyarrow."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

x = np.arange(12).reshape(4, 3)
y = np.array([0, 1, 1, 0])
np.savez("plain.npz", X=x.astype("f4"), y=y)
np.savez_compressed("compressed.npz", y=y.astype("?"), X=x)
np.save("fortran.npy", np.asfortranarray(x.astype(">i2")))

n = 300
i = np.arange(n)
table = pa.table({
    "b": i % 2 == 0,
    "i8": pa.array(-(i % 100), pa.int8()),
    "u32": pa.array(2**32 - 1 - i, pa.uint32()),
    "i64": -10 * i,
    "u64": pa.array([2**64 - 1 - int(k) for k in i], pa.uint64()),
    "f32": pa.array(i / 4, pa.float32()),
    "f64": i / 8,
    "s": [f"s{k}" for k in i],
    "cat": pa.array([["red", "blue", "green"][k % 3] for k in i]).dictionary_encode(),
    "with_null": pa.array([None if k == 1 else float(k) for k in i]),
})
pq.write_table(table, "snappy.parquet", row_group_size=128)
pq.write_table(table, "zstd_v2.parquet", compression="zstd", data_page_version="2.0",
               data_page_size=512, version="2.6")
tiny = table.select(["b", "i64", "f64", "s", "cat", "with_null"]).slice(0, 8)
tiny = tiny.replace_schema_metadata(None)
small = {"write_statistics": False, "store_schema": False}
pq.write_table(tiny, "tiny_snappy.parquet", **small)
pq.write_table(tiny, "tiny_zstd_v2.parquet", compression="zstd", data_page_version="2.0",
               row_group_size=5, **small)
pq.write_table(tiny, "tiny_dictionary.parquet", compression="none", **small)
pq.write_table(tiny, "tiny_delta.parquet", compression="none", use_dictionary=False,
               column_encoding={"i64": "DELTA_BINARY_PACKED", "s": "DELTA_BYTE_ARRAY",
                                "cat": "DELTA_LENGTH_BYTE_ARRAY",
                                "f64": "BYTE_STREAM_SPLIT", "with_null": "PLAIN", "b": "RLE"},
               data_page_version="2.0", **small)
pq.write_table(pa.table({"v": [[1.0], [2.0]]}), "nested.parquet")
pq.write_table(pa.table({"day": [datetime.date(2020, 1, 1)]}), "date.parquet")
