//! `bidual certify`: objective and certificate of a stored network, computed anew.

use crate::Outcome;
use crate::args::CertifyArgs;
use crate::data::{check_order, load_labelled};
use crate::model_file::Stored;
use crate::report::{self, Score, gap_text, significant_above, significant_below};
use anyhow::{Result, bail};
use bidual::{Certificate, Scope};
use serde_json::json;

/// Relative difference up to which two certificates count as equal.
const SAME: f64 = 1e-9;

pub fn run(args: &CertifyArgs) -> Result<Outcome> {
    check_order(&args.model, Some(&args.data))?;
    if crate::audit::is_foreign(&args.model)? {
        return crate::audit::run(args);
    }
    if let Some(option) = args.audit.first_given() {
        bail!(
            "{option} applies to networks of other programs: drop it, the model file says what it was fitted with"
        );
    }
    let stored = Stored::load(&args.model)?;
    let model = &stored.model;
    let data = load_labelled(
        &args.data,
        &stored.encoding,
        args.target.as_deref().unwrap_or(&stored.target),
        stored.classes.as_ref(),
        args.weights.as_deref().or(stored.weights.as_deref()),
    )?;
    let certificate = bidual::certify(model, &data)?;
    let (gap, tolerance) = (certificate.relative_gap(), model.options.tolerance);
    let matches = agrees(&certificate, &model.certificate);
    // on other data the neurons may lie outside the sampled patterns: then bound and
    // objective are about different sets of networks
    let comparable = matches || !matches!(certificate.scope, Scope::Sampled(_));
    let certified = comparable && gap <= tolerance;
    let score = Score::of(&data, &model.predict(&data.x), model.options.loss.is_classification());
    if args.json {
        report::print_json(&json!({
            "objective": certificate.upper,
            "lower": certificate.lower,
            "upper": certificate.upper,
            "relative_gap": gap,
            "tolerance": tolerance,
            "certified": certified,
            "scope": report::scope_json(certificate.scope),
            "matches_stored": matches,
            "stored": report::certificate_json(&model.certificate),
            "lambda": model.lambda,
            "samples": data.samples(),
            "score": score.json(),
            "version": env!("CARGO_PKG_VERSION"),
        }))?;
    } else {
        let stored = if matches && close(certificate.lower, model.certificate.lower) {
            "equal to the certificate of the fit".to_owned()
        } else if matches {
            "same objective as the fit, which was stopped early with a weaker bound".to_owned()
        } else {
            format!(
                "differs from the fit (objective {}, lower bound {}): the data or the file have changed{}",
                significant_above(model.certificate.upper, 9),
                significant_below(model.certificate.lower, 9),
                if comparable {
                    ""
                } else {
                    "; on other data the network need not lie in the sampled patterns, so nothing is certified"
                }
            )
        };
        report::print(&format!(
            "objective    {}\nproved       {} (relative gap {})\nstored       {stored}\nscore        {}\n",
            significant_above(certificate.upper, 9),
            report::statement(&certificate),
            gap_text(gap),
            score.text()
        ))?;
    }
    Ok(Outcome::certified(certified))
}

/// The same objective over the same scope, and a bound at least as good as the
/// stored one: a fit that was stopped early stores what it had proved by then.
fn agrees(now: &Certificate, stored: &Certificate) -> bool {
    let bound = now.lower >= stored.lower || close(now.lower, stored.lower);
    close(now.upper, stored.upper) && bound && now.scope == stored.scope
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= SAME * a.abs().max(b.abs())
}
