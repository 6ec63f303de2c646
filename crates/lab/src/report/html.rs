//! Renders `report.html`: one page with its styles and scripts inside, so that it needs no network.

mod headline;
mod overview;
mod runs;

use std::fmt::Write;

pub use headline::render as render_headline;

use super::{drawing, number, source, summary};
use crate::contract::{Claim, StrategyKind};
use crate::fault::Fault;
use crate::incident::IncidentReport;
use crate::registry;
use crate::result::{RunReport, RunResult, Verdict};

/// The shop's style sheet: first imports, then the design tokens (colours and sizes), then the
/// rules. The report uses only the tokens.
const LOOK: &str = include_str!("../../../web/assets/look.css");
const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");
const PLOT_STYLE: &str = include_str!("vendor/uPlot-1.6.32.min.css");
const PLOT_SCRIPT: &str = include_str!("vendor/uPlot-1.6.32.min.js");
const PLOT_LICENCE: &str = include_str!("vendor/uPlot-LICENSE");
const BRAND: &str = "<svg viewBox=\"0 0 24 28\" fill=\"none\" stroke-width=\"2.5\" \
    aria-hidden=\"true\"><path d=\"M3 27V11a9 9 0 0 1 18 0v16\" stroke=\"currentColor\"/>\
    <path class=\"brand__slit\" d=\"M12 6v21\"/></svg>";

/// Returns the page of `lab run`.
pub fn render_run(run: &RunReport, incident: Option<&IncidentReport>) -> String {
    let head = if run.results.iter().any(|result| !result.keeps_promise()) {
        "A promise was broken."
    } else if !run.failures.is_empty() {
        "Some runs failed."
    } else if run.interrupted {
        "The run was interrupted."
    } else {
        "Every promise held."
    };
    let mut main = verdict(run.agrees(), head, &summary(run));
    main += &run_facts(run);
    main += &overview::render(run);
    main += &plots(run);
    main += &incident.map(incident_section).unwrap_or_default();
    main += &ways(run);
    main += &runs::render(run);
    main += &repeat(run);
    let numbers = serde_json::to_string(&run).unwrap_or_default().replace('<', "\\u003c");
    let scripts = format!(
        "<script type=\"application/json\" id=\"numbers\">{numbers}</script>\n\
         <script>/*{PLOT_LICENCE}*/\n{PLOT_SCRIPT}</script>\n<script>{SCRIPT}</script>"
    );
    page("Lab report", &main, &scripts)
}

/// Returns the page of `lab incident`.
pub fn render_incident(incident: &IncidentReport) -> String {
    let text =
        "A lock can end before the work ends. The page shows such a case, and safer strategies.";
    let main =
        verdict(incident.is_as_expected(), incident.heading(), text) + &incident_section(incident);
    page("Lab incident", &main, "")
}

fn page(title: &str, main: &str, scripts: &str) -> String {
    // The imports at the start of the style sheet would need the network, so the imports are cut
    // off.
    let tokens = LOOK.find(":root").and_then(|start| LOOK.get(start..)).unwrap_or_default();
    let tokens = tokens.split("/* ---------- shared").next().unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} – Doorbuster</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>{PLOT_STYLE}\n{tokens}{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the report</a>\n\
         <header class=\"top\"><span class=\"brand\">{BRAND}<span>Doorbuster lab</span></span>\
         </header>\n<main class=\"report\" id=\"main\" tabindex=\"-1\">{main}</main>\n\
         {scripts}\n</body>\n</html>\n"
    )
}

fn verdict(good: bool, head: &str, text: &str) -> String {
    let class = if good { "verdict" } else { "verdict verdict--bad" };
    format!(
        "<section class=\"{class}\" aria-label=\"Verdict\"><h1>{head}</h1><p>{}</p></section>",
        escape(text)
    )
}

fn run_facts(run: &RunReport) -> String {
    let machine = &run.machine;
    let levels: Vec<String> = run.levels.iter().map(usize::to_string).collect();
    let rows = [
        ("Buyers of each run", number(run.buyers as f64)),
        ("Units on sale", format!("{}, {} each", number(run.stock as f64), run.units)),
        ("At the same time", levels.join(", ")),
        ("Machine", format!("{}, {} cores", machine.processor, machine.cores)),
        ("Memory", format!("{} MiB", number(machine.memory_mib as f64))),
        ("Servers", machine.servers.join(", ")),
        ("Settings", run.settings.join(". ")),
        ("System", machine.system.clone()),
        ("Seed", run.seed.to_string()),
        ("It took", format!("{} s", number(run.seconds))),
    ];
    facts(&rows)
}

/// If a value has more than this number of bytes, it gets a row of its own.
const LONG_FACT: usize = 60;

fn facts(rows: &[(&str, String)]) -> String {
    let mut text =
        String::from("<h2 class=\"unseen\">How it was measured</h2><dl class=\"facts\">");
    for (name, value) in rows {
        // The result of `write!` is ignored, because writing to a string cannot fail.
        let class = if value.len() > LONG_FACT { " class=\"long\"" } else { "" };
        let _ = write!(text, "<div{class}><dt>{name}</dt><dd>{}</dd></div>", escape(value));
    }
    text + "</dl>"
}

fn pill(result: &RunResult) -> String {
    let class = match result.verdict {
        Verdict::Held if result.is_unfinished() => "pill pill--warn",
        Verdict::Held => "pill pill--good",
        Verdict::Undersold => "pill pill--warn",
        _ => "pill pill--bad",
    };
    format!("<span class=\"{class}\">{}</span>", result.verdict_text())
}

/// Returns the section with the plots. The plots show only the runs with the first fault of the
/// report. If the report has several seeds, each point is the median over the seeds.
fn plots(run: &RunReport) -> String {
    let fault = run.results.first().map_or(Fault::None, |result| result.faults);
    let fault = match fault {
        Fault::None => String::new(),
        fault => format!(" The plots show only runs with the fault {}.", fault.as_str()),
    };
    let has_seeds = run.results.iter().any(|result| result.seed != run.seed);
    let seeds = if has_seeds { " Each point is the median over the seeds." } else { "" };
    format!(
        "<section aria-labelledby=\"h-plots\"><h2 id=\"h-plots\">Speed against concurrency</h2>\
         <p class=\"soft\">Both scales are logarithmic. The table has the numbers.{fault}{seeds}</p>\
         <div class=\"chosen\" id=\"chosen\" role=\"group\" aria-label=\"Strategies in the \
         plots\"></div><h3>Buyers answered per second</h3><div class=\"card chart\" \
         id=\"throughput\" role=\"img\" aria-label=\"Throughput against concurrency\"></div><br>\
         <h3>Latency, 99 of 100 buyers</h3><div class=\"card chart\" id=\"latency\" role=\"img\" \
         aria-label=\"Latency against concurrency\"></div></section>"
    )
}

fn incident_section(incident: &IncidentReport) -> String {
    let mut text = format!(
        "<section aria-labelledby=\"h-incident\"><h2 id=\"h-incident\">The incident of the \
         lock</h2><p>Three servers sell 100 bottles under a lock that lasts {} ms. A call under \
         the lock sometimes takes longer. Grey: work while the lock is held. Red: work \
         after the lock has ended.</p>",
        crate::incident::LOCK_MS
    );
    for variant in &incident.variants {
        let held = variant.verdict == Verdict::Held;
        let class = if held { "pill pill--good" } else { "pill pill--bad" };
        let (id, word) = (&variant.strategy, variant.verdict.as_str());
        let _ = write!(
            text,
            "<br><div class=\"card way\"><h3>{id} <span class=\"{class}\">{word}</span></h3>\
             <p>{} Sold {} of {} bottles.</p><div class=\"scroll\" tabindex=\"0\" role=\"region\" \
             aria-label=\"Timeline of {id}\">{}</div></div>",
            escape(variant.shows),
            variant.sold,
            variant.stock,
            drawing::render(variant)
        );
    }
    text + &format!(
        "<br><p class=\"soft\">Repeat: <code>{}</code></p></section>",
        escape(&incident.command())
    )
}

fn ways(run: &RunReport) -> String {
    let mut text = String::from(
        "<section aria-labelledby=\"h-ways\"><h2 id=\"h-ways\">How each strategy works, and how it \
         broke</h2><div class=\"ways\">",
    );
    let mut ids: Vec<&str> = run.results.iter().map(|result| result.strategy.as_str()).collect();
    ids.dedup();
    for entry in ids.iter().filter_map(|id| registry::find(id)) {
        let _ = write!(text, "<article class=\"card way\" id=\"{}\">", entry.id);
        let _ = write!(text, "<h3>{} ({})</h3>", escape(entry.title), entry.id);
        let promise = match entry.claim {
            Claim::Safe => "The strategy promises to sell correctly, even with faults.",
            Claim::Unsafe => "The strategy promises nothing.",
            Claim::SafeWithoutFaults => {
                "The strategy promises to sell correctly if there is no fault."
            }
        };
        let _ = write!(text, "<p class=\"soft\">{promise} Suits: {}.</p>", escape(entry.suits));
        for paragraph in source::paragraphs(entry.text) {
            let _ = write!(text, "<p>{}</p>", escape(&paragraph));
        }
        let code = match entry.kind {
            StrategyKind::Worker(_) => source::decision_lines(entry.text),
            StrategyKind::Product(_) => String::new(),
        };
        let scripts = entry.lua.iter().enumerate();
        let scripts = scripts.map(|(at, lua)| (format!("Script {} of {}", at + 1, entry.id), *lua));
        let quotes = std::iter::once((format!("Code of {}", entry.id), code.as_str()));
        for (name, quote) in quotes.chain(scripts).filter(|(_, quote)| !quote.is_empty()) {
            let _ = write!(
                text,
                "<pre tabindex=\"0\" aria-label=\"{name}\"><code>{}</code></pre>",
                escape(quote)
            );
        }
        text += &broke(run, entry.id);
        text += &without_http(run, entry.id);
        text += "</article>";
    }
    text + "</div></section>"
}

/// Describes each run whose verdict is not `Held`, with the first buyer who was affected.
fn broke(run: &RunReport, id: &str) -> String {
    let broken: Vec<&RunResult> = run
        .results
        .iter()
        .filter(|result| result.strategy == id && result.verdict != Verdict::Held)
        .collect();
    if broken.is_empty() {
        return "<p><span class=\"pill pill--good\">held</span> in every run.</p>".to_owned();
    }
    let mut text = String::new();
    for result in broken {
        let _ = write!(
            text,
            "<p>{} with {} at once, faults {}: {}.</p>",
            pill(result),
            result.level,
            result.fault_text(),
            escape(result.first_offender.as_deref().unwrap_or("no buyer to name"))
        );
    }
    text
}

fn without_http(run: &RunReport, id: &str) -> String {
    let results = run.results.iter().filter(|result| result.strategy == id);
    let mut text = String::new();
    for (result, direct) in
        results.filter_map(|result| Some((result, result.without_http.as_ref()?)))
    {
        let _ = write!(
            text,
            "<p>Without HTTP, {} at once: {} buyers a second instead of {}, p99 {:.2} ms instead \
             of {:.2} ms; {}.</p>",
            result.level,
            number(direct.throughput_per_second),
            number(result.throughput_per_second),
            direct.latency_ms.p99,
            result.latency_ms.p99,
            direct.verdict_text()
        );
    }
    text
}

fn repeat(run: &RunReport) -> String {
    format!(
        "<section aria-labelledby=\"h-repeat\"><h2 id=\"h-repeat\">How to repeat it</h2>\
         <p>The seed decides the sequence of the buyers and the times of the faults. The processes \
         really compete, so the counts of an unsafe strategy differ from run to run.</p>\
         <div class=\"card way\"><pre tabindex=\"0\" aria-label=\"Command\"><code>{}</code></pre>\
         </div></section>",
        escape(&run.command)
    )
}

/// Escapes a text for HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
