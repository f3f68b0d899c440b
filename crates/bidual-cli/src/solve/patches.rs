//! Families `counts` (patterns of convolutional networks) and `certificate` (support functions of
//! cones): one answer for each item.

use super::node::Node;
use super::{Answer, MOST_CELLS, by_rows};
use anyhow::{Context, Result, bail, ensure};
use bidual::Mat;
use bidual::arrangement::{count_cells, for_each_cell};
use bidual::cone::{Gauge, Rows, Workspace, project, support};
use bidual::solver::Status;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

pub fn counts(root: &Node) -> Result<Answer> {
    let items = root.need("data")?.need("items")?.items()?;
    let facts = items.iter().map(count).collect::<Result<Vec<Value>>>()?;
    Ok(Answer::facts(Status::Certified, json!({ "items": facts })))
}

pub fn supports(root: &Node) -> Result<Answer> {
    let items = root.need("data")?.need("items")?.items()?;
    let facts = items.iter().map(cone).collect::<Result<Vec<Value>>>()?;
    Ok(Answer::facts(Status::Certified, json!({ "items": facts })))
}

fn count(item: &Node) -> Result<Value> {
    let settings = item.need("settings")?;
    let patches = match item.get("patches") {
        Some(list) => given(&list)?,
        None => cut(&item.need("X")?, &settings)?,
    };
    let d = patches.first().and_then(|p| p.first()).map_or(0, Vec::len);
    let rows: Vec<f64> = patches.iter().flatten().flatten().copied().collect();
    let n = rows.len() / d.max(1);
    let found = count_cells(&rows, n, d, MOST_CELLS).context(item.path.clone())?;
    let nonzero = rows.chunks(d).filter(|row| row.iter().any(|v| *v != 0.0)).count();
    let pooled = match settings.flag("maxpool")? {
        true => json!(max_pool_patterns(&patches).context(item.path.clone())?),
        false => Value::Null,
    };
    Ok(json!({
        "name": item.text("name")?,
        "n_rows": n,
        "n_nonzero_rows": nonzero,
        "n_distinct_hyperplanes": found.hyperplanes,
        "rank": found.rank,
        "sum_pool_patterns": found.open,
        "bound": u64::try_from(found.bound)
            .map_or_else(|_| json!(found.bound as f64), |bound| json!(bound)),
        "max_pool_patterns": pooled,
    }))
}

/// Patches of each sample, from positions × n × length.
fn given(list: &Node) -> Result<Vec<Vec<Vec<f64>>>> {
    let positions: Vec<Mat> = list.items()?.iter().map(Node::matrix).collect::<Result<_>>()?;
    let (n, d) = positions.first().map_or((0, 0), |p| (p.nrows(), p.ncols()));
    ensure!(
        n > 0 && positions.iter().all(|p| p.nrows() == n && p.ncols() == d),
        "{}: expected as many rows of as many numbers at each position",
        list.path
    );
    let row = |p: &Mat, i: usize| (0..d).map(|j| p[(i, j)]).collect();
    Ok((0..n).map(|i| positions.iter().map(|p| row(p, i)).collect()).collect())
}

/// Patches of each sample: one-dimensional signals n × length (× channels) with `h`, images
/// n × channels × height × width with `kh` and `kw`; `stride`, `pad` and `circular` as usual.
fn cut(x: &Node, settings: &Node) -> Result<Vec<Vec<Vec<f64>>>> {
    let size = |key: &str, default: usize| -> Result<usize> {
        let Some(node) = settings.get(key) else { return Ok(default) };
        let value = node.number()?;
        ensure!(
            value >= 0.0 && value.fract() == 0.0 && value < 1e6,
            "{}: expected a whole number, found {value}",
            node.path
        );
        Ok(value as usize)
    };
    let (stride, pad) = (size("stride", 1)?, size("pad", 0)?);
    ensure!(stride > 0, "settings.stride: expected at least 1, found 0");
    let circular = settings.flag("circular")?;
    let mut all = vec![];
    for sample in x.items()? {
        // channels × height × width
        let (planes, kernel): (Vec<Mat>, (usize, usize)) = match depth(&sample) {
            1 => {
                let signal = sample.vector()?;
                let plane = Mat::from_fn(1, signal.len(), |_, j| signal[j]);
                (vec![plane], (1, settings.need("h").and_then(|_| size("h", 0))?))
            }
            2 => {
                let signal = sample.matrix()?; // length × channels
                let plane = |c: usize| Mat::from_fn(1, signal.nrows(), |_, j| signal[(j, c)]);
                let planes = (0..signal.ncols()).map(plane).collect();
                (planes, (1, settings.need("h").and_then(|_| size("h", 0))?))
            }
            3 => {
                let planes = sample.items()?.iter().map(Node::matrix).collect::<Result<_>>()?;
                let kernel = (size("kh", 0)?, size("kw", 0)?);
                settings.need("kh").and(settings.need("kw"))?;
                (planes, kernel)
            }
            _ => bail!("{}: expected numbers in one, two or three dimensions", sample.path),
        };
        let (height, width) = planes.first().map_or((0, 0), |p| (p.nrows(), p.ncols()));
        ensure!(height > 0 && width > 0, "{}: expected numbers, found none", sample.path);
        ensure!(
            planes.iter().all(|p| p.nrows() == height && p.ncols() == width),
            "{}: expected channels of the same size",
            sample.path
        );
        // signals are padded along their length only
        let pads = (if kernel.0 == 1 && height == 1 { 0 } else { pad }, pad);
        let starts = |length: usize, kernel: usize, pad: usize| -> Result<Vec<usize>> {
            ensure!(
                kernel > 0 && kernel <= length + 2 * pad,
                "{}: a filter of {kernel} does not fit into {length} values with padding {pad}",
                x.path
            );
            let last = if circular { length - 1 } else { length + 2 * pad - kernel };
            Ok((0..=last).step_by(stride).collect())
        };
        let (down, across) = (starts(height, kernel.0, pads.0)?, starts(width, kernel.1, pads.1)?);
        let at = |plane: &Mat, i: usize, j: usize| match circular {
            true => plane[(i % height, j % width)],
            false => match (i.checked_sub(pads.0), j.checked_sub(pads.1)) {
                (Some(i), Some(j)) if i < height && j < width => plane[(i, j)],
                _ => 0.0,
            },
        };
        let down = if circular && height == 1 { vec![0] } else { down };
        let mut patches = vec![];
        for &i in &down {
            for &j in &across {
                let mut patch = vec![];
                for plane in &planes {
                    for a in 0..kernel.0 {
                        patch.extend((0..kernel.1).map(|b| at(plane, i + a, j + b)));
                    }
                }
                patches.push(patch);
            }
        }
        all.push(patches);
    }
    let shape = |p: &Vec<Vec<f64>>| (p.len(), p.first().map_or(0, Vec::len));
    let Some(first) = all.first().map(shape) else {
        bail!("{}: expected at least one sample, found none", x.path)
    };
    ensure!(all.iter().all(|p| shape(p) == first), "{}: samples differ in size", x.path);
    Ok(all)
}

fn depth(node: &Node) -> usize {
    let (mut depth, mut value) = (0, node.value);
    while let Some(items) = value.as_array() {
        depth += 1;
        let Some(first) = items.first() else { break };
        value = first;
    }
    depth
}

/// Full-dimensional regions on which each sample selects one position, or none: distinct
/// selections over the cells of all patches and of their differences within a sample.
fn max_pool_patterns(patches: &[Vec<Vec<f64>>]) -> Result<usize> {
    let d = patches[0][0].len();
    let mut rows: Vec<f64> = patches.iter().flatten().flatten().copied().collect();
    for sample in patches {
        for (k, a) in sample.iter().enumerate() {
            for b in &sample[..k] {
                rows.extend(a.iter().zip(b).map(|(a, b)| a - b));
            }
        }
    }
    let mut seen: BTreeSet<Vec<u32>> = BTreeSet::new();
    for_each_cell(&rows, rows.len() / d, d, MOST_CELLS, &mut |_, u| {
        let value = |patch: &[f64]| patch.iter().zip(u).map(|(x, u)| x * u).sum::<f64>();
        let select = |sample: &Vec<Vec<f64>>| {
            let (mut best, mut at) = (0.0, 0);
            for (k, patch) in sample.iter().enumerate() {
                // equal patches count as the first of them
                let same = sample[..k].contains(patch);
                if !same && value(patch) > best {
                    (best, at) = (value(patch), k as u32 + 1);
                }
            }
            at
        };
        seen.insert(patches.iter().map(select).collect());
        ControlFlow::Continue(())
    })?;
    Ok(seen.len())
}

/// max{cᵀu : Au ≥ 0, ‖u‖ ≤ 1}, the norm of the projection of c on the cone.
fn cone(item: &Node) -> Result<Value> {
    let (a, c) = (item.need("A")?.matrix()?, item.need("c")?.vector()?);
    let (n, d) = (a.nrows(), a.ncols());
    ensure!(
        c.len() == d,
        "{}.c: expected {d} numbers as in each row of A, found {}",
        item.path,
        c.len()
    );
    let columns: Vec<f64> = (0..d).flat_map(|j| a.col_as_slice(j).to_vec()).collect();
    let rows = by_rows(&a);
    let rows = Rows::new(n, d, &columns, &rows).context("too many rows")?;
    let bits = vec![u64::MAX; n.div_ceil(64)];
    let mut workspace = Workspace::new();
    let found = support(&rows, &bits, &c, &Gauge::Norm, 0.0, &[], &mut workspace);
    let projection = project(&rows, &bits, &c, &mut workspace);
    Ok(json!({
        "support": found.upper,
        "support_attained": found.lower,
        "projection": projection,
        "unconstrained_norm": c.iter().map(|v| v * v).sum::<f64>().sqrt(),
    }))
}
