//! Malformed files: no reader panics, and none allocates out of proportion.
//!
//! Each reader gets 100,000 inputs: mutations of valid files (bytes flipped,
//! inserted, removed, copied; truncations; extreme integers) and random bytes,
//! from a fixed seed.

#![allow(unsafe_code)] // a counting allocator, to catch claims for absurd amounts of memory
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bidual_io::Error;
use bidual_io::model::{Tensor, Tensors};
use bidual_io::table::*;

/// Inputs per reader.
const INPUTS: usize = 100_000;

/// Notes the largest single allocation.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.next() as usize % end }
    }
}

fn mutated(random: &mut Random, seeds: &[Vec<u8>], tokens: &[&[u8]]) -> Vec<u8> {
    if random.below(20) == 0 {
        return (0..random.below(200)).map(|_| random.next() as u8).collect();
    }
    let mut bytes = seeds[random.below(seeds.len())].clone();
    // Mostly one or two changes: more seldom get past a file's outer form.
    let most = 1 << random.below(4);
    for _ in 0..=random.below(most) {
        let at = random.below(bytes.len());
        let end = (at + random.below(9)).min(bytes.len());
        match random.below(9) {
            0..=1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            3 if !bytes.is_empty() => {
                let extreme = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
                bytes[at..end].fill(extreme);
            }
            4 => drop(bytes.drain(at..end)),
            5 => bytes.truncate(at),
            6 => {
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            7 => {
                let token = tokens[random.below(tokens.len())].iter().copied();
                bytes.splice(at..at, token);
            }
            _ => {
                let token = tokens[random.below(tokens.len())];
                let end = (at + token.len()).min(bytes.len());
                bytes.splice(at..end, token.iter().copied());
            }
        }
    }
    bytes
}

thread_local! {
    static READING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Panics inside the parquet crate that the reader turned into errors.
static CAUGHT: AtomicUsize = AtomicUsize::new(0);
/// Panics of this crate, which would be errors even if caught.
static OWN: AtomicUsize = AtomicUsize::new(0);

/// Prints no panics (with slow backtraces) that are about to be caught.
fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let file = info.location().map_or("", |l| l.file());
            let local = file.starts_with("src/") || file.starts_with("tests/");
            if !READING.get() || local || file.contains("bidual-io") {
                OWN.fetch_add(1, Ordering::Relaxed);
                usual(info);
            } else {
                CAUGHT.fetch_add(1, Ordering::Relaxed);
            }
        }));
    });
}

fn fuzz<T>(seeds: &[Vec<u8>], tokens: &[&[u8]], read: impl Fn(&[u8]) -> Result<T, Error>) {
    quiet();
    for seed in seeds {
        assert!(read(seed).is_ok());
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    for _ in 0..INPUTS {
        let bytes = mutated(&mut random, seeds, tokens);
        READING.set(true);
        let result = read(&bytes);
        READING.set(false);
        match result {
            Ok(_) => accepted += 1,
            Err(error) => {
                let message = error.to_string();
                assert!(!message.contains('\n') && message.len() < 4000, "{message}");
            }
        }
        let largest = LARGEST.load(Ordering::Relaxed);
        if largest >= 1 << 28 {
            std::fs::write(std::env::temp_dir().join("bidual-fuzz-input"), &bytes).unwrap();
            panic!("an allocation of {largest} bytes");
        }
    }
    assert_eq!(OWN.load(Ordering::Relaxed), 0);
    println!(
        "{accepted} of {INPUTS} accepted; largest allocation {} bytes, {} panics of libraries caught",
        LARGEST.load(Ordering::Relaxed),
        CAUGHT.load(Ordering::Relaxed)
    );
}

const NUMBERS: [&[u8]; 6] =
    [b"99999999999", b"18446744073709551615", b"-1", b"0", b"nan", b"1e999"];

#[test]
fn csv() {
    let seeds = [
        &b"a,b,c\n1,x,2.5\n-3e4,\"y, \"\"z\"\"\",7\n"[..],
        b"\xef\xbb\xbfn,t\r\n1,\"two\r\nlines\"\r\n\r\n2,NA\r\n",
    ]
    .map(<[u8]>::to_vec);
    let mut tokens = NUMBERS.to_vec();
    tokens.extend([&b"\""[..], b",", b"\r\n", b"\n\n", b"\xef\xbb\xbf", b"\xff"]);
    fuzz(&seeds, &tokens, |bytes| read_csv_bytes(bytes, "f.csv").map(encode));
}

/// What follows on a table that was accepted must not panic either.
fn encode(table: Table) {
    use bidual_io::encoding::*;
    assert!(table.rows > 0 && table.columns.len() == table.names.len());
    for column in &table.columns {
        let (rows, finite) = match column {
            Column::Number(values) => (values.len(), values.iter().all(|v| v.is_finite())),
            Column::Text(cells) => (cells.len(), true),
        };
        assert!(rows == table.rows && finite);
    }
    let last = table.names.last().map_or("", String::as_str);
    let _ = binary_target(&table, last);
    let _ = regression_target(&table, last);
    if let Ok(encoding) = Encoding::learn(&table, &[], true) {
        let features = encoding.apply(&table).unwrap();
        assert_eq!(features.values.len(), features.rows * features.columns);
    }
}

fn array(columns: &[&[f64]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_npy(&mut bytes, columns).unwrap();
    bytes
}

const HEADER: [&[u8]; 8] = [b"True", b"(", b")", b"'", b",", b"<i2", b"'shape': ", b"L"];

#[test]
fn npy() {
    let short = b"\x93NUMPY\x01\x00\x3b\x00{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n\0\x01\0\x02\0\x03\0\x04\0\x05\0\x06";
    let seeds = [short.to_vec(), array(&[&[1.0, 2.0], &[3.0, 4.0]]), array(&[&[1.0; 5]])];
    let tokens = [&NUMBERS[..], &HEADER].concat();
    fuzz(&seeds, &tokens, |bytes| read_npy_bytes(bytes, "f.npy").map(encode));
}

#[test]
fn npz() {
    use std::io::{Cursor, Write};
    use zip::write::SimpleFileOptions;
    let seed = |method| {
        let mut out = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        for (name, bytes) in
            [("X.npy", array(&[&[1.0, 2.0], &[3.0, 4.0]])), ("y.npy", array(&[&[5.0, 6.0]]))]
        {
            out.start_file(name, options.large_file(name == "X.npy")).unwrap();
            out.write_all(&bytes).unwrap();
        }
        out.finish().unwrap().into_inner()
    };
    let seeds = [
        seed(zip::CompressionMethod::Stored),
        seed(zip::CompressionMethod::Deflated),
        include_bytes!("data/compressed.npz").to_vec(),
    ];
    let mut tokens = [&NUMBERS[..], &HEADER].concat();
    tokens.extend([
        &b"PK\x01\x02"[..],
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"PK\x06\x06",
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\x7f",
    ]);
    fuzz(&seeds, &tokens, |bytes| read_npz_bytes(bytes, "f.npz").map(encode));
}

#[test]
fn model() {
    let tensor = |shape: &[usize]| Tensor {
        shape: shape.to_vec(),
        values: vec![0.5; shape.iter().product()],
    };
    let model = Tensors {
        tensors: [("w", tensor(&[2, 3])), ("b", tensor(&[2])), ("s", tensor(&[]))]
            .map(|(name, tensor)| (name.to_owned(), tensor))
            .into(),
        metadata: [("format", "1"), ("task", "regression")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    };
    let mut tokens = NUMBERS.to_vec();
    tokens.extend([
        &b"F32"[..],
        b"I64",
        b"BOOL",
        b"F4",
        b"[",
        b"]",
        b"{",
        b"\"",
        b",",
        b"__metadata__",
    ]);
    fuzz(&[model.to_bytes().unwrap()], &tokens, |bytes| {
        let model = Tensors::from_bytes(bytes, "f.model")?;
        for (name, tensor) in &model.tensors {
            assert_eq!(tensor.shape.iter().product::<usize>(), tensor.values.len());
            let _ = (model.matrix(name), model.vector(name));
        }
        assert_eq!(Tensors::from_bytes(&model.to_bytes()?, "again")?.metadata, model.metadata);
        Ok(())
    });
}

/// A network that was read must be usable.
fn run(read: bidual_io::foreign::ForeignNetwork) {
    let network = read.network;
    assert!(network.neurons() > 0 && network.inputs() > 0);
    let x = bidual::Mat::zeros(2, network.inputs());
    assert_eq!(network.predict(&x).len(), 2);
}

#[test]
fn onnx_networks() {
    use bidual_io::foreign::read_onnx_network;
    let seeds = [
        &include_bytes!("fixtures/torch_legacy_clamp.onnx")[..],
        include_bytes!("fixtures/torch_legacy_batch_norm.onnx"),
        include_bytes!("fixtures/torch_scaled.onnx"),
        include_bytes!("fixtures/sklearn_classifier_scaled.onnx"),
        include_bytes!("fixtures/sklearn_double.onnx"),
    ]
    .map(<[u8]>::to_vec);
    let tokens = [
        &b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..],
        b"\xff\xff\xff\xff\x07",
        b"\x08\xff\xff\xff\xff\x0f",
        b"\x08\x00",
        b"\x10\x0b",
        b"Gemm",
        b"MatMul",
        b"Relu",
        b"Gather",
        b"Concat",
        b"Transpose",
        b"Squeeze",
        b"Shape",
        b"\0\0\xc0\x7f",
    ];
    fuzz(&seeds, &tokens, |bytes| read_onnx_network(bytes, "f.onnx").map(run));
}

#[test]
fn named_networks() {
    use bidual_io::foreign::{ReadOptions, read_npz_network, read_safetensors_network};
    let options = ReadOptions::default();
    let mut tokens = NUMBERS.to_vec();
    tokens.extend([&b"F32"[..], b"F64", b"weight", b"bias", b"[", b"]", b",", b"[1,5]", b"[5,1]"]);
    let seeds = [
        &include_bytes!("fixtures/torch_sequential.safetensors")[..],
        include_bytes!("fixtures/torch_square.safetensors"),
    ]
    .map(<[u8]>::to_vec);
    fuzz(&seeds, &tokens, |bytes| {
        read_safetensors_network(bytes, "f.safetensors", &options).map(run)
    });
    let tokens = [&NUMBERS[..], &HEADER].concat();
    let seeds = [&include_bytes!("fixtures/sklearn.npz")[..]].map(<[u8]>::to_vec);
    fuzz(&seeds, &tokens, |bytes| read_npz_network(bytes, "f.npz", &options).map(run));
}

#[cfg(feature = "parquet")]
#[test]
fn parquet() {
    let seeds = [
        &include_bytes!("data/tiny_snappy.parquet")[..],
        include_bytes!("data/tiny_zstd_v2.parquet"),
        include_bytes!("data/tiny_delta.parquet"),
        include_bytes!("data/tiny_dictionary.parquet"),
    ]
    .map(<[u8]>::to_vec);
    let tokens = [
        &b"PAR1"[..],
        b"\xff\xff\xff\xff\x0f",
        b"\xfe\xff\xff\xff\x0f",
        b"\x80\x80\x80\x80\x08",
        b"\x00",
        b"\x15\x00",
        b"\xff\xff\xff\x7f",
        b"\x15\x0c",
        b"\x19\x1c",
    ];
    fuzz(&seeds, &tokens, |bytes| read_parquet_bytes(bytes, "f.parquet").map(encode));
}
