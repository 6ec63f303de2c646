//! A shop's brand: its colours, logo, font and links become part of the style sheet and of the pages,
//! so that a branded page needs no further request.

use std::collections::HashMap;
use std::fmt::Write;

use super::AssetSource;
use crate::config::Theme;
use crate::web::shell::escaped;

/// The style sheet of the buyers' pages.
const STYLES: &str = "look.css";
/// The buyers' pages.
const PAGES: [&str; 4] = ["index.html", "sale.html", "order.html", "missing.html"];
/// The pages with the shop's logo.
const END: &str = "</body>";

/// Puts the brand into the files.
pub(super) fn apply(theme: &Theme, sources: &mut HashMap<String, AssetSource>) {
    let mut styles = styles(theme);
    for (name, file) in [("logo", &theme.logo), ("font", &theme.font)] {
        let Some(file) = file else { continue };
        let name = format!("shop-{name}.{}", file.extension);
        styles.push_str(&match name.starts_with("shop-logo") {
            true => logo_styles(&name),
            false => font_styles(&name),
        });
        sources.insert(name, AssetSource::data(file.bytes.clone()));
    }
    if !styles.is_empty()
        && let Some(sheet) = sources.get_mut(STYLES)
    {
        *sheet = AssetSource::generated(format!("{}{styles}", sheet.text()));
    }
    if !theme.footer.is_empty() {
        let footer = footer(theme);
        for page in PAGES {
            if let Some(page) = sources.get_mut(page) {
                let text = page.text().replacen(END, &format!("{footer}{END}"), 1);
                *page = AssetSource::generated(text);
            }
        }
    }
}

/// The tokens of the brand's colours in both schemes. On the dark pages the accent itself is the
/// colour of text, and its wash is mixed from the ground.
pub(in crate::web) fn styles(theme: &Theme) -> String {
    let Some(colors) = &theme.colors else { return String::new() };
    format!(
        "\n/* the shop's colours */\n:root {{ --color-accent: {accent}; --color-on-accent: {on}; \
         --color-accent-text: {text}; --color-accent-wash: {wash}; }}\n\
         @media (prefers-color-scheme: dark) {{ :root {{ --color-accent: {accent}; \
         --color-accent-text: {accent};\n  --color-accent-wash: color-mix(in srgb, {accent} 14%, \
         #1c1912); }} }}\n",
        accent = colors.accent,
        on = colors.on_accent,
        text = colors.accent_text,
        wash = colors.accent_wash,
    )
}

fn logo_styles(name: &str) -> String {
    format!(
        "\n/* the shop's logo; its name stays for screen readers */\n\
         .brand svg {{ display: none; }}\n\
         .brand span {{ position: absolute; inline-size: 1px; block-size: 1px; clip-path: inset(50%); }}\n\
         .brand::before {{ content: \"\"; inline-size: 9rem; block-size: 2rem;\n  \
         background: url(\"/assets/{name}\") left center / contain no-repeat; }}\n"
    )
}

fn font_styles(name: &str) -> String {
    format!(
        "\n/* the shop's font */\n@font-face {{ font-family: \"Shop\"; font-display: swap;\n  \
         src: url(\"/assets/{name}\") format(\"woff2\"); }}\n\
         :root {{ --font-text: \"Shop\", system-ui, sans-serif; }}\n"
    )
}

fn footer(theme: &Theme) -> String {
    let mut out = String::from("<footer class=\"foot\">");
    for (name, url) in &theme.footer {
        write!(out, "<a href=\"{}\">{}</a>", escaped(url), escaped(name))
            .expect("writing to a string cannot fail");
    }
    out + "</footer>\n"
}
