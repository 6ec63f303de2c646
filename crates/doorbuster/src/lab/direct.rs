//! `lab direct`: sells without HTTP. `lab run` starts this command in a separate process.

use anyhow::{Context, anyhow, bail};
use doorbuster_lab::Answer;
use doorbuster_lab::direct::{self, DirectCrowd};
use doorbuster_node::boot::{self, DirectAnswer};

use crate::cli::SettingsArgs;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::{config, print};

/// Reads the buyers from standard input, sells to them, and prints the result of each buyer.
pub fn run(args: &SettingsArgs) -> Outcome {
    let settings = config::settings(args)?;
    let crowd: DirectCrowd = serde_json::from_reader(std::io::stdin().lock())
        .context("standard input does not contain the lab's buyers")?;
    let runtime = boot::runtime(settings.workers.get()).context("cannot start threads")?;
    let (item, units) = (crowd.item.clone(), crowd.units);
    let names = [crowd.warm_up.clone(), crowd.sale.clone()];
    let sales = names.each_ref().map(String::as_str);
    let sold = boot::without_http(&settings, (&sales, &item), async |sales| {
        let mut answers = None;
        // The first sale only warms up this process, so its answers are not used. The lab compares
        // this process with an HTTP server that has also had a first sale.
        for (name, sale) in names.iter().zip(sales) {
            let buy = move |buyer: String, key: String| {
                let sale = sale.clone();
                async move {
                    match sale.buy(&buyer, &key, units).await {
                        DirectAnswer::Reserved => Ok(Answer::Sold),
                        DirectAnswer::SoldOut => Ok(Answer::SoldOut),
                        DirectAnswer::TryAgain => Ok(Answer::Busy),
                        DirectAnswer::Other => bail!("the purchase of {buyer} was refused"),
                    }
                }
            };
            answers = Some(direct::sell(crowd.of_sale(name), buy).await);
        }
        answers
    });
    let sold = runtime.block_on(sold).map_err(|error| Failure::Refused(error.to_string()))?;
    let answers =
        sold.flatten().ok_or_else(|| anyhow!("there is no item {item} in {}", names.join(", ")))?;
    print::json(&answers)?;
    Ok(CommandResult::Success)
}
