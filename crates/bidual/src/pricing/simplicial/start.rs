//! Start cones that cover the ball.

/// Vertices of the start cones. Without a free coordinate: the `2^p` orthants. With one: for every
/// orthant of the other coordinates the prism `{u = Σt_k v_k, |b| ≤ reach·Σt_k}`, cut into `p − 1`
/// simplicial cones by the staircase triangulation.
pub(super) fn cones<const P: usize>(reach: Option<f64>) -> Vec<[[f64; P]; P]> {
    let inner = if reach.is_some() { P - 1 } else { P };
    let mut out = Vec::new();
    for signs in 0..1usize << inner {
        let axis = |k: usize, last: f64| {
            let mut v = [0.0; P];
            v[k] = if signs >> k & 1 == 1 { -1.0 } else { 1.0 };
            if reach.is_some() {
                v[P - 1] = last;
            }
            v
        };
        match reach {
            None => out.push(std::array::from_fn(|k| axis(k, 0.0))),
            Some(r) => {
                for step in 0..inner {
                    out.push(std::array::from_fn(|k| {
                        if k <= step { axis(k, -r) } else { axis(k - 1, r) }
                    }));
                }
            }
        }
    }
    out
}

/// Gauge weights of the coordinates.
pub(super) fn gauge<const P: usize>(free: bool) -> [f64; P] {
    let mut g = [1.0; P];
    if free {
        g[P - 1] = 0.0;
    }
    g
}
