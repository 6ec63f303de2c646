//! The lab's report, opened from the disk.

use super::super::driver::Browser;
use super::{inspect, tab};
use crate::test_server::{TempDir, program, run};

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_the_lab_is_usable_by_everyone() {
    let temp_dir = TempDir::new();
    let out = temp_dir.join("report");
    let ways = "unsafe-update,conditional-update,redis-lock-unsafe,redis-lua";
    let ran = run(program(&temp_dir)
        .args(["lab", "run", "--strategies", ways, "--buyers", "200", "--stock", "20"])
        .args(["--levels", "1,16", "--seed", "7", "--json", "--out"])
        .arg(&out));
    ran.stdout_of_success();
    for name in ["report.html", "report.json", "report.md"] {
        assert!(out.join(name).exists(), "{name}");
    }
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        tab.load(&format!("file://{}", out.join("report.html").display())).await;
        tab.says("h1", "Every promise held.").await;
        // Both plots are drawn, and a strategy can be chosen.
        tab.until("document.querySelectorAll('canvas').length === 2").await;
        tab.click("#chosen label:last-child input").await;
        tab.until("document.querySelectorAll('canvas').length === 2").await;
        inspect(&tab, "lab-report").await;
    })
    .await;
}
