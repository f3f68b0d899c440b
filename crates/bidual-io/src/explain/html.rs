//! An explanation as one HTML page without anything outside it.

use std::fmt::Write as _;

use super::Explanation;

/// Colours in both schemes, and no scripts.
const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1c2024;--muted:#60646c;--back:#fcfcfd;--rule:#d9d9e0;\
--one:#0b68cb;--two:#c2570c;--point:#1c2024}\
@media(prefers-color-scheme:dark){:root{--text:#edeef0;--muted:#b0b4ba;--back:#111113;\
--rule:#363a3f;--one:#70b8ff;--two:#ffa057;--point:#edeef0}}\
body{margin:2rem auto;padding:0 1rem;max-width:60rem;background:var(--back);color:var(--text);\
font:15px/1.5 system-ui,sans-serif}\
h1{font-size:1.4rem;margin:0 0 .5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}\
p,figcaption{color:var(--muted);margin:.2rem 0}p b{color:var(--text);font-weight:600}\
figure{margin:1.5rem 0}svg{width:100%;height:auto;font:12px system-ui,sans-serif}\
svg text{fill:var(--muted)}svg .middle{text-anchor:middle}svg .end{text-anchor:end}\
svg .name{fill:var(--text)}svg .mark{font-size:10px}\
.frame{fill:none;stroke:var(--rule)}.axis{stroke:var(--muted)}\
.kink{stroke:var(--muted);stroke-width:1;stroke-dasharray:3 3}\
.curve{fill:none;stroke:var(--one);stroke-width:2.2;stroke-linejoin:round}\
.point{fill:var(--point);fill-opacity:.35}.point.second{fill:var(--one);fill-opacity:1;stroke:var(--back);stroke-width:.6}\
.point.first{fill:var(--two);fill-opacity:1;stroke:var(--back);stroke-width:.6}\
.paper{fill:var(--back)}.ring{stroke:var(--point);stroke-width:.6}\
.tick-second{stroke:var(--one)}.tick-first{stroke:var(--two)}\
.shade{shape-rendering:crispEdges}.high{fill:var(--one)}.low{fill:var(--two)}\
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--rule);vertical-align:top}\
th{color:var(--muted);font-weight:500}th:last-child,td:last-child{text-align:left}\
.bar{display:inline-block;height:.6em;background:var(--one);border-radius:1px;margin-right:.4em}\
li{margin:.3rem 0}";

/// Text inside HTML, in content and attributes; control characters are blanks.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

impl Explanation<'_> {
    /// One page: what the model is, the figure if the network has one or two
    /// features, a row and a sentence for each neuron. Well-formed XML too.
    pub fn html(&self) -> String {
        let title = escaped(&format!("{} explained", self.subject.target));
        let mut page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        );
        let mut line = |name: &str, text: &str| {
            // writing to a string cannot fail
            let _ = writeln!(page, "<p><b>{name}</b> {}</p>", escaped(text));
        };
        line("model", &format!("{}: {}", self.subject.source, self.model_line()));
        if let Some(data) = self.data_line() {
            line("data", &data);
        }
        line(self.output(), &self.output_line());
        if let Some(others) = &self.others {
            line("others", &others.statement);
        }
        if let Some(svg) = self.figure() {
            let _ = writeln!(
                page,
                "<figure>\n{svg}\n<figcaption>{}</figcaption>\n</figure>",
                escaped(&self.caption())
            );
        }
        if !self.neurons.is_empty() {
            self.push_table(&mut page);
            page.push_str("<h2>In words</h2>\n<ul>\n");
            for n in &self.neurons {
                let sentence = escaped(&self.sentence(n));
                let _ = writeln!(page, "<li><b>Neuron {}.</b> {sentence}</li>", n.number);
            }
            page.push_str("</ul>\n");
        }
        page.push_str("</body>\n</html>\n");
        page
    }

    fn push_table(&self, page: &mut String) {
        page.push_str("<h2>Neurons</h2>\n<div class=\"scroll\"><table>\n<thead><tr>");
        for (_, heading) in self.headings().iter().enumerate().filter(|(k, _)| self.shown(*k)) {
            let _ = write!(page, "<th>{heading}</th>");
        }
        page.push_str("</tr></thead>\n<tbody>\n");
        for n in &self.neurons {
            page.push_str("<tr>");
            for (k, cell) in self.row(n).iter().enumerate().filter(|(k, _)| self.shown(*k)) {
                page.push_str("<td>");
                if let Some(share) = n.share.filter(|_| k == 1) {
                    let _ = write!(
                        page,
                        "<span class=\"bar\" style=\"width:{:.2}em\"></span>",
                        5.0 * share
                    );
                }
                let _ = write!(page, "{}</td>", escaped(cell));
            }
            page.push_str("</tr>\n");
        }
        let _ = writeln!(page, "</tbody>\n</table></div>\n<p>{}</p>", escaped(&self.legend()));
    }

    /// What the figure shows.
    fn caption(&self) -> String {
        let lines = match self.axes().len() {
            1 => {
                "The line is the network; it bends at the dashed lines, the breakpoints of the neurons numbered there."
            }
            _ => {
                "Shaded by the network's output; it bends along the dashed lines, one for each neuron."
            }
        };
        let clipped = match self.axes().len() {
            2 if self.subject.classes.is_some() => " Scores beyond 4 have the shade of 4.",
            _ => "",
        };
        let samples = match (self.samples, self.subject.classes) {
            (None, _) => String::new(),
            (Some(s), classes) => {
                let n = s.x.nrows();
                let shown = self.drawn().len();
                let some = if shown < n {
                    format!(" {shown} of the {n} samples are shown.")
                } else {
                    String::new()
                };
                match classes.filter(|_| s.y.is_some()) {
                    Some([negative, positive]) => {
                        format!(" Samples in blue are {positive}, in orange {negative}.{some}")
                    }
                    None if s.y.is_some() && self.axes().len() == 2 => {
                        format!(
                            " The dots are the samples, with the shades of their targets.{some}"
                        )
                    }
                    None => format!(" The dots are the samples.{some}"),
                }
            }
        };
        format!("{lines}{clipped}{samples}")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_cannot_break_the_page() {
        assert_eq!(super::escaped("<a href=\"x\">&'\n"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39; ");
    }
}
