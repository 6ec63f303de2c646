//! Cuts out the parts of a strategy's source file that the report quotes: the header, and the code
//! that shows how the strategy decides.

/// Returns the sections of the header as paragraphs. A section begins with "How it", "Where it" or
/// "When it".
pub fn paragraphs(text: &str) -> Vec<String> {
    let mut paragraphs: Vec<String> = Vec::new();
    for line in text.lines().map_while(|line| line.strip_prefix("//!")) {
        let line = line.trim();
        let starts = ["How it ", "Where it ", "When it "].iter().any(|word| line.starts_with(word));
        match paragraphs.last_mut() {
            Some(last) if !starts && !line.is_empty() && !last.is_empty() => {
                last.push(' ');
                last.push_str(line);
            }
            _ => paragraphs.push(line.to_owned()),
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs
}

/// Functions that the report does not quote, because they do not show how the strategy decides.
const LEFT_OUT: [&str; 4] = ["prepare", "waiting", "works_everywhere", "orders"];

/// Returns the lines of a strategy's source file that show how the strategy decides. Leaves out the
/// header, the imports, `ENTRY`, the functions in `LEFT_OUT`, and the calls that record the
/// incident.
pub fn decision_lines(text: &str) -> String {
    let mut essence: Vec<&str> = Vec::new();
    // The last line of the part that is being left out. `None` outside of such a part.
    let mut ends_with = None;
    for line in text.lines() {
        if let Some(end) = ends_with {
            ends_with = (line != end).then_some(end);
            continue;
        }
        let is_entry = line.starts_with("pub const ENTRY");
        let is_left_out = LEFT_OUT.iter().any(|name| line.starts_with(&format!("    fn {name}")));
        if is_entry || is_left_out {
            ends_with = Some(if is_entry { "};" } else { "    }" });
            // The doc comment above this constant or function must be left out too.
            while essence.last().is_some_and(|last| last.trim_start().starts_with("///")) {
                essence.pop();
            }
        } else if !is_plumbing(line) {
            essence.push(line);
        }
    }
    essence.dedup_by(|line, before| line.is_empty() && before.is_empty());
    essence.join("\n").replace("\n\n}", "\n}").replace("{\n\n", "{\n").trim().to_owned() + "\n"
}

fn is_plumbing(line: &str) -> bool {
    line.starts_with("//!")
        || line.starts_with("use ")
        || line.trim_start().starts_with("self.0.journal.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{StrategyEntry, StrategyKind};
    use crate::registry::{ENTRIES, find};

    /// Checks that the report quotes the strategy's function `take`, and its statements or scripts
    /// that book units.
    fn assert_essence(entry: &StrategyEntry) {
        let (id, essence) = (entry.id, decision_lines(entry.text));
        assert!(essence.contains("fn take("), "{id}: {essence}");
        assert!(!essence.contains("fn prepare(") && !essence.contains("journal.sold"), "{id}");
        let in_database =
            ["create_tables", "prepare_stock"].iter().any(|name| entry.text.contains(name));
        let statements = ["UPDATE stock SET", "UPDATE units SET", "INSERT INTO orders"];
        let has_statement = statements.iter().any(|start| essence.contains(start));
        let has_script = essence.contains("Script::new(");
        assert!(!in_database || has_statement || has_script, "{id}: {essence}");
        assert_eq!(has_script, !entry.lua.is_empty(), "{id} must quote its scripts");
        let scripts = entry.text.matches("Script::new(").count();
        assert!(entry.lua.len() >= scripts, "{id} quotes {} of {scripts} scripts", entry.lua.len());
    }

    #[test]
    fn the_quoted_code_shows_the_condition_that_decides() {
        let text = |id: &str| decision_lines(find(id).expect("a strategy").text);
        assert!(text("conditional-update").contains("WHERE item = 1 AND available >= $2"));
        assert!(text("redis-lock").contains("async fn sell("));
        assert!(text("staging-table").contains("async fn apply_batch("));
        assert!(text("single-consumer-queue").contains("FOR UPDATE"));
    }

    #[test]
    fn every_strategy_has_the_four_header_sections_and_a_take_function() {
        for entry in &ENTRIES {
            let (id, header) = (entry.id, paragraphs(entry.text));
            for start in
                ["How it works:", "Where it comes from:", "When it holds:", "How it breaks:"]
            {
                assert!(header.iter().any(|text| text.starts_with(start)), "{id}: {start}");
            }
            if !matches!(entry.kind, StrategyKind::Worker(_)) {
                continue;
            }
            assert_essence(entry);
            let lines = entry.text.lines().count();
            assert!((40..=120).contains(&lines), "{id} has {lines} lines, not 40 to 120");
        }
    }
}
