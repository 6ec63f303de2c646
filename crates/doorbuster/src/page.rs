//! `page preview`: writes a file that shows the shop's brand.

use anyhow::Context;
use doorbuster_web::brand_preview;
use serde_json::json;

use crate::cli::{PageArgs, PageCommand};
use crate::exit::Outcome;
use crate::{config, print};

/// Runs `page`.
pub fn run(args: &PageArgs) -> Outcome {
    let PageCommand::Preview(args) = &args.command;
    let settings = config::settings(&args.settings)?;
    std::fs::write(&args.out, brand_preview(&settings))
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    if args.json {
        return print::json(&json!({ "file": args.out.display().to_string() }));
    }
    print::line(&format!("wrote {}; open it in a browser", args.out.display()))
}
