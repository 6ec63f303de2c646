//! A browser window: the actions of a visitor, and what the visitor sees.

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::driver::Browser;

const TIMEOUT: Duration = Duration::from_secs(120);
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// In the WebDriver protocol, the name of the member that identifies an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys of the keyboard in the WebDriver protocol.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
const STEPS_MAX: usize = 80;

/// A window.
pub struct Tab<'a> {
    browser: &'a Browser,
    handle: String,
    /// True if the window has loaded a page before.
    been: Cell<bool>,
}

impl<'a> Tab<'a> {
    /// Returns the window with this handle.
    pub fn of(browser: &'a Browser, handle: &str) -> Self {
        Self { browser, handle: handle.to_owned(), been: Cell::new(false) }
    }

    /// Opens an address as if the visitor came from another site. Waits until the page shows its
    /// texts.
    pub async fn go(&self, url: &str) {
        if self.been.replace(true) {
            self.load("about:blank").await;
        }
        self.load(url).await;
        self.until("document.documentElement.classList.contains('ready')").await;
    }

    /// Opens an address.
    pub async fn load(&self, url: &str) {
        self.command("POST", "/url", json!({ "url": url })).await.expect("the page loads");
    }

    /// Deletes the browser's cookies and everything that the page has stored. So a later test does
    /// not find this data if its server gets the same port.
    pub async fn clear_storage(&self) {
        self.protocol("Network.clearBrowserCookies", json!({})).await;
        // An empty page has no storage and refuses the script, so an error is ignored.
        let _ = self.try_eval("(sessionStorage.clear(), localStorage.clear())").await;
    }

    /// Reloads the page.
    pub async fn reload(&self) {
        self.command("POST", "/refresh", json!({})).await.expect("the page loads");
        self.until("document.documentElement.classList.contains('ready')").await;
    }

    /// Returns the address of the current page.
    pub async fn url(&self) -> String {
        let url = self.command("GET", "/url", Value::Null).await.expect("an address");
        url.as_str().expect("a string").to_owned()
    }

    /// Evaluates an expression on the current page, and returns its value.
    pub async fn eval(&self, expression: &str) -> Value {
        self.try_eval(expression).await.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    async fn try_eval(&self, expression: &str) -> Result<Value, String> {
        let script = json!({"script": format!("return ({expression})"), "args": []});
        self.command("POST", "/execute/sync", script).await
    }

    /// Runs a script whose last argument is a callback. Returns the value that the script passes to
    /// the callback.
    pub async fn run(&self, script: &str) -> Value {
        let script = json!({"script": script, "args": []});
        self.command("POST", "/execute/async", script)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until an expression is true on the current page; returns its value.
    pub async fn until(&self, expression: &str) -> Value {
        let begun = Instant::now();
        loop {
            let value = self.try_eval(expression).await;
            match value {
                Ok(Value::Null | Value::Bool(false)) | Err(_) => {}
                Ok(value) => return value,
            }
            if begun.elapsed() > TIMEOUT {
                panic!("the condition never held: {expression}\n{value:?}\n{}", self.seen().await);
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    }

    /// Waits until the element has this text.
    pub async fn says(&self, css: &str, words: &str) {
        self.until(&format!(
            "document.querySelector({})?.textContent.includes({})",
            json!(css),
            json!(words)
        ))
        .await;
    }

    /// Waits until the attribute `name` of the element has this value.
    pub async fn has(&self, css: &str, name: &str, value: &str) {
        let (css, name, value) = (json!(css), json!(name), json!(value));
        self.until(&format!("document.querySelector({css})?.getAttribute({name}) === {value}"))
            .await;
    }

    /// Returns the text of the element.
    pub async fn text(&self, css: &str) -> String {
        let text =
            self.eval(&format!("document.querySelector({}).textContent.trim()", json!(css))).await;
        text.as_str().expect("a string").to_owned()
    }

    /// Waits until the element can be seen, and clicks on it with the mouse.
    pub async fn click(&self, css: &str) {
        self.until(&format!("document.querySelector({})?.checkVisibility()", json!(css))).await;
        let found =
            self.command("POST", "/element", json!({"using": "css selector", "value": css})).await;
        let found = found.expect("the element still exists");
        let path = format!("/element/{}/click", found[ELEMENT].as_str().expect("an element"));
        if let Err(error) = self.command("POST", &path, json!({})).await {
            panic!("{css} cannot be clicked: {error}\n{}", self.seen().await);
        }
    }

    /// Presses these keys while the current element has the focus. The protocol represents each key
    /// that types no character by a special character.
    pub async fn keys(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| {
            let (down, up) =
                (json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key}));
            [down, up]
        });
        let actions = json!({"actions": [{"type": "key", "id": "keys", "actions": strokes.collect::<Vec<_>>()}]});
        self.command("POST", "/actions", actions).await.expect("keys are pressed");
    }

    /// Presses the Tab key until the focused control has these words.
    pub async fn step_to(&self, words: &str) {
        let is_there = format!(
            "document.activeElement?.textContent.trim() === {words}
                || document.activeElement?.labels?.[0]?.textContent.trim() === {words}",
            words = json!(words)
        );
        for _ in 0..STEPS_MAX {
            if self.eval(&is_there).await == true {
                return;
            }
            self.keys(TAB).await;
        }
        panic!("{words:?} is not reached with the keyboard");
    }

    /// Focuses an element and presses keys.
    pub async fn keys_to(&self, css: &str, keys: &str) {
        self.eval(&format!("document.querySelector({}).focus()", json!(css))).await;
        self.keys(keys).await;
    }

    /// Sets the width of the window.
    pub async fn width(&self, width: u32) {
        let size = json!({"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": false});
        self.protocol("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Sets the preferred colour scheme, and switches animations off.
    pub async fn scheme(&self, scheme: &str) {
        let features = [("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")];
        let features = features.map(|(name, value)| json!({"name": name, "value": value}));
        self.protocol("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Adds a script that runs in every page of this window, before the page's own scripts.
    pub async fn add_init_script(&self, script: &str) {
        let added = self
            .protocol("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }))
            .await;
        self.browser.note_script(&self.handle, added["identifier"].clone());
    }

    /// Sends a command of the browser's own protocol, for actions that WebDriver does not offer.
    pub async fn protocol(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.command("POST", "/goog/cdp/execute", body)
            .await
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Minimizes or restores this window. The other windows stay as they are.
    pub async fn minimized(&self, is_minimized: bool) {
        let window = self.protocol("Browser.getWindowForTarget", json!({})).await;
        let state = if is_minimized { "minimized" } else { "normal" };
        let bounds = json!({"windowId": window["windowId"], "bounds": {"windowState": state}});
        self.protocol("Browser.setWindowBounds", bounds).await;
    }

    async fn command(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        self.browser.command(&self.handle, method, path, body).await
    }

    /// Returns what the page shows, for the message of a failed test.
    async fn seen(&self) -> String {
        let seen = self.try_eval("location.href + '\\n' + document.body.innerText").await;
        format!(
            "{}\n{:?}",
            seen.as_ref().map_or("", |seen| seen.as_str().unwrap_or("")),
            self.browser.complaints().await
        )
    }
}
