//! The parts of a strategy's file that the report quotes: its header and its main function.

/// Returns the header's sections as paragraphs. A section begins with "How …", "Where …" or "When
/// …".
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

/// Returns the function `take`, without the indentation of its `impl`.
pub fn main_function(text: &str) -> String {
    let lines = text.lines().skip_while(|line| !line.starts_with("    fn take("));
    let mut main_function = String::new();
    for line in lines {
        main_function.push_str(line.strip_prefix("    ").unwrap_or(line));
        main_function.push('\n');
        if line == "    }" {
            break;
        }
    }
    main_function
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::StrategyKind;
    use crate::registry::ENTRIES;

    #[test]
    fn every_strategy_has_the_four_header_sections_and_a_take_function() {
        for entry in ENTRIES.iter().filter(|entry| matches!(entry.kind, StrategyKind::Worker(_))) {
            let (id, header) = (entry.id, paragraphs(entry.text));
            for start in
                ["How it works:", "Where it comes from:", "When it holds:", "How it breaks:"]
            {
                assert!(header.iter().any(|text| text.starts_with(start)), "{id}: {start}");
            }
            assert!(main_function(entry.text).ends_with("}\n"), "{id} needs a function take");
            let lines = entry.text.lines().count();
            assert!((40..=120).contains(&lines), "{id} has {lines} lines, not 40 to 120");
        }
    }
}
