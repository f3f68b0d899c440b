//! lower ≤ optimum ≤ upper, and over which networks the statement holds.

/// The set of networks over which a lower bound holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All networks, of any width, of the trained architecture.
    Complete,
    /// ReLU networks whose neurons stay in so many sampled or given
    /// activation patterns. A network that leaves them may be better.
    Sampled(usize),
    /// Gated networks with exactly the listed number of fixed gates: the gates are the model.
    Gates(usize),
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Complete => write!(f, "all networks of any width"),
            Scope::Sampled(p) => write!(f, "all networks on {p} listed activation patterns"),
            Scope::Gates(p) => write!(f, "all gated networks with these {p} gates"),
        }
    }
}

/// How a lower bound was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// One exact projection per listed pattern, at a scaled dual vector.
    ConePricing,
    /// The norm of one adjoint, at a scaled dual vector.
    AdjointNorm,
    /// Branch and bound over simplicial cones that cover all directions.
    SimplicialCones,
    /// Branch and bound over moment relaxations, for data of higher rank.
    Moments,
    /// ‖ν‖‖X‖: what is left when a better bound was not asked for or did not finish.
    NormBound,
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Method::ConePricing => "every pattern priced over its cone",
            Method::AdjointNorm => "every gate priced by its adjoint norm",
            Method::SimplicialCones => "all directions covered by simplicial cones",
            Method::Moments => "all directions covered by moment relaxations",
            Method::NormBound => "norms of the data and of the dual vector",
        })
    }
}

/// A proved statement about one network: `lower ≤ optimum ≤ upper`, where
/// `upper` is the training objective of that very network, evaluated from its
/// weights, and `lower` is the value of a dual feasible point.
///
/// Both are computed in f64; `lower` contains a margin for its rounding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Certificate {
    /// Proved lower bound on the objective of every network in `scope`.
    pub lower: f64,
    /// Objective of the returned network.
    pub upper: f64,
    /// Over which networks `lower` holds.
    pub scope: Scope,
    /// How `lower` was proved.
    pub method: Method,
}

impl Certificate {
    /// (upper − lower)/|upper|, at least 0; ∞ without a finite bound.
    pub fn relative_gap(&self) -> f64 {
        relative_gap(self.lower, self.upper)
    }
}

/// (upper − lower)/|upper|, 0 if they differ by rounding only. ∞ without finite
/// bounds, and where `lower` exceeds `upper`: then the network is not one of
/// those that the bound is about, and nothing is proved of it.
pub fn relative_gap(lower: f64, upper: f64) -> f64 {
    let gap = upper - lower;
    if !gap.is_finite() || gap < -1e-9 * upper.abs() {
        f64::INFINITY
    } else if gap <= 0.0 {
        0.0
    } else {
        gap / upper.abs()
    }
}
