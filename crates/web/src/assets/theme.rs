//! Puts a shop's brand into the style sheet and the pages. The logo and the font are separate
//! files, which browsers can cache.

use std::collections::HashMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use doorbuster_config::{DARK_WASH_PERCENT, Settings, Theme, ThemeFile};

use super::AssetSource;
use crate::page_html::escaped;

const STYLES: &str = "look.css";
pub(super) const PAGES: [&str; 4] = ["index.html", "sale.html", "order.html", "missing.html"];
/// The place of the shop's name in a page.
const UNNAMED: &str = "data-shop>Doorbuster<";
/// The shop's links are inserted before this text.
const END: &str = "</body>";

pub(super) fn apply(settings: &Settings, sources: &mut HashMap<String, AssetSource>) {
    let theme = &settings.page.theme;
    let mut styles = color_styles(theme);
    if let Some(logo) = &theme.logo {
        let name = format!("shop-logo.{}", logo.extension);
        styles.push_str(&logo_styles(&format!("/assets/{name}")));
        sources.insert(name, AssetSource::data(logo.bytes.clone()));
    }
    let fonts = fonts(theme).map(|(font, name)| {
        let name = format!("{name}.{}", font.extension);
        sources.insert(name.clone(), AssetSource::data(font.bytes.clone()));
        format!("/assets/{name}")
    });
    styles.push_str(&font_styles(&fonts.collect::<Vec<_>>()));
    styles.push_str(footer_styles(theme));
    if !styles.is_empty()
        && let Some(sheet) = sources.get_mut(STYLES)
    {
        *sheet = AssetSource::generated(format!("{}{styles}", sheet.text()));
    }
    let (named, footer) = (format!("data-shop>{}<", escaped(&settings.shop)), footer(theme));
    for page in PAGES {
        if let Some(page) = sources.get_mut(page) {
            let text = page.text().replace(UNNAMED, &named);
            *page = AssetSource::generated(text.replacen(END, &format!("{footer}{END}"), 1));
        }
    }
}

/// Returns the CSS variables of the shop's colours. In the dark scheme, texts have the accent
/// colour itself, and the wash (a pale background) is this colour mixed with the dark background.
/// Bars show held units in the accent's text colour, because this text colour has enough contrast.
fn color_styles(theme: &Theme) -> String {
    let Some(colors) = &theme.colors else { return String::new() };
    format!(
        "\n/* the shop's colours */\n:root {{ --color-accent: {accent}; --color-on-accent: {on}; \
         --color-accent-text: {text}; --color-accent-wash: {wash};\n  \
         --data-held: var(--color-accent-text); }}\n\
         @media (prefers-color-scheme: dark) {{ :root {{ --color-accent: {accent}; \
         --color-accent-text: {accent};\n  --color-accent-wash: color-mix(in srgb, \
         {accent} {percent}%, #1c1912); }} }}\n",
        percent = DARK_WASH_PERCENT,
        accent = colors.accent,
        on = colors.on_accent,
        text = colors.accent_text,
        wash = colors.accent_wash,
    )
}

fn logo_styles(url: &str) -> String {
    format!(
        "\n/* the shop's logo; its name stays for screen readers and on paper */\n\
         .brand svg {{ display: none; }}\n\
         .brand span {{ position: absolute; inline-size: 1px; clip-path: inset(50%); }}\n\
         .brand::before {{ content: \"\"; inline-size: 9rem; block-size: 2rem;\n  \
         background: url(\"{url}\") left center / contain no-repeat; }}\n\
         @media print {{ .brand::before {{ display: none; }}\n  \
         .brand span {{ position: static; inline-size: auto; clip-path: none; }} }}\n"
    )
}

fn fonts(theme: &Theme) -> impl Iterator<Item = (&ThemeFile, &'static str)> {
    let bold = theme.font_bold.as_ref().map(|font| (font, "shop-font-bold"));
    theme.font.as_ref().map(|font| (font, "shop-font")).into_iter().chain(bold)
}

/// Returns the styles for the shop's fonts. If the shop has no bold font, browsers draw the plain
/// font thicker for bold texts.
fn font_styles(urls: &[String]) -> String {
    let face = |url: &String, weight: &str| {
        format!(
            "@font-face {{ font-family: \"Shop\"; font-display: swap;{weight}\n  src: \
             url(\"{url}\") format(\"woff2\"); }}\n"
        )
    };
    let faces = match urls {
        [] => return String::new(),
        [plain, bold] => {
            face(plain, " font-weight: 400 500;") + &face(bold, " font-weight: 600 900;")
        }
        [plain, ..] => face(plain, ""),
    };
    format!(
        "\n/* the shop's font */\n{faces}\
         :root {{ --font-text: \"Shop\", system-ui, sans-serif; }}\n"
    )
}

/// Returns styles that show only the links for the page's language. If the page's script does not
/// run, the language is English.
fn footer_styles(theme: &Theme) -> &'static str {
    if theme.footer_zh.is_empty() {
        return "";
    }
    "\n/* the shop's links in the page's language */\n\
     .foot[lang], :root:lang(zh) .foot:not([lang]) { display: none; }\n\
     :root:lang(zh) .foot[lang] { display: flex; }\n"
}

const DARK: &str = "@media (prefers-color-scheme: dark) {";

/// Renders one HTML file that shows the light and the dark scheme side by side. It can be opened
/// without a server, because it contains all its styles and images.
pub(super) fn preview(settings: &Settings, styles: &str) -> String {
    let theme = &settings.page.theme;
    let mut css = styles.to_owned() + &color_styles(theme);
    if let Some(logo) = &theme.logo {
        css.push_str(&logo_styles(&data_url(logo)));
    }
    css.push_str(&font_styles(&fonts(theme).map(|(font, _)| data_url(font)).collect::<Vec<_>>()));
    let (shop, footer) = (escaped(&settings.shop), footer(theme));
    let half = |scheme: &str| {
        PREVIEW.replace("SCHEME", scheme).replace("SHOP", &shop).replace("FOOTER", &footer)
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{shop}: page preview</title>\n\
         <style>\n{}\nbody {{ padding: 0; }}\nmain {{ display: grid; grid-template-columns: \
         repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); min-block-size: 100vh; }}\n.half {{ \
         background: var(--color-page); color: var(--color-text); padding: 1rem 1.5rem 2rem; \
         display: grid; gap: 1rem; align-content: start; grid-template-columns: minmax(0, 1fr); \
         color-scheme: light; }}\n.dark {{ color-scheme: dark; }}\n</style>\n<body>\n\
         <main>\n{}{}</main>\n</body>\n</html>\n",
        with_dark_class(&css),
        half("light"),
        half("dark"),
    )
}

const PREVIEW: &str = "<section class=\"half SCHEME\" aria-label=\"SCHEME\">
  <header class=\"top\"><span class=\"brand\"><svg viewBox=\"0 0 24 28\" fill=\"none\" stroke-width=\"2.5\"><path d=\"M3 27V11a9 9 0 0 1 18 0v16\" stroke=\"currentColor\"/><path class=\"brand__slit\" d=\"M12 6v21\"/></svg><span>SHOP</span></span></header>
  <p><span class=\"pill pill--live\">Open now</span> <span class=\"pill pill--warn\">None left now</span> <span class=\"pill pill--good\">Paid</span> <span class=\"pill\">Sold out</span></p>
  <p class=\"eyebrow\">Spring drop</p><h1>Ora lamp</h1><p class=\"price\"><b>€49.00</b> <s>€89.00</s></p>
  <button class=\"buy\" data-mode=\"go\"><span>Buy now · €49.00</span></button>
  <button class=\"buy\" data-mode=\"busy\"><span>Reserving 1…</span></button>
  <button class=\"buy\" data-mode=\"wait\"><span>Opens in 12:48</span></button>
  <p><b>On sale now</b><br><span class=\"soft\">One tap is enough. You get your answer within seconds.</span></p>
  <p><button class=\"button\">Join the waitlist</button> <button class=\"button button--main\">Pay €49.00</button></p>
  FOOTER
</section>
";

/// Returns styles in which the dark scheme applies to elements of the class `dark`. In `css`, the
/// browser's setting selects the scheme.
fn with_dark_class(css: &str) -> String {
    let (mut out, mut rest) = (String::new(), css);
    while let Some((before, after)) = rest.split_once(DARK) {
        let mut depth = 1_u32;
        let end = after
            .char_indices()
            .find(|(_, char)| {
                match char {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                depth == 0
            })
            .map_or(after.len(), |(at, _)| at);
        out.push_str(before);
        out.push_str(&after[..end].replace(":root", ".dark"));
        rest = after.get(end + 1..).unwrap_or_default();
    }
    out + rest
}

fn data_url(file: &ThemeFile) -> String {
    let media_type = super::media_type_of(&format!("x.{}", file.extension)).unwrap_or_default();
    format!("data:{media_type};base64,{}", STANDARD.encode(&file.bytes))
}

/// Returns the shop's links. If Chinese pages have other links, returns both sets, because all
/// visitors get the same page. The styles hide one set.
fn footer(theme: &Theme) -> String {
    let chinese = links(&theme.footer_zh, " lang=\"zh-Hans\"");
    links(&theme.footer, "") + &chinese
}

fn links(links: &[(String, String)], attributes: &str) -> String {
    if links.is_empty() {
        return String::new();
    }
    let mut out = format!("<footer class=\"foot\"{attributes}>");
    for (name, url) in links {
        write!(out, "<a href=\"{}\">{}</a>", escaped(url), escaped(name))
            .expect("writing to a string cannot fail");
    }
    out + "</footer>\n"
}

#[cfg(test)]
mod tests {
    use doorbuster_config::{Flags, load};

    use super::*;

    fn settings(more: &[(&str, &str)]) -> Result<Settings, String> {
        let flags = Flags { data_dir: Some("/tmp".into()), ..Flags::default() };
        let all = more.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        load(&flags, all).map_err(|error| error.to_string())
    }

    const COLORS: [(&str, &str); 4] = [
        ("DOORBUSTER_PAGE__THEME__ACCENT", "#3ddc97"),
        ("DOORBUSTER_PAGE__THEME__ON_ACCENT", "#00210f"),
        ("DOORBUSTER_PAGE__THEME__ACCENT_TEXT", "#00603a"),
        ("DOORBUSTER_PAGE__THEME__ACCENT_WASH", "#dff7ea"),
    ];

    #[test]
    fn a_preview_shows_the_brand_in_both_schemes_without_another_file() {
        let footer = ("DOORBUSTER_PAGE__THEME__FOOTER", "Imprint=https://shop.example/imprint");
        let settings = settings(&[&COLORS[..], &[footer]].concat()).expect("valid settings");
        let styles = "a { } @media (prefers-color-scheme: dark) { :root { --x: 1; } } b { }";
        let page = preview(&settings, styles);
        assert!(page.contains("--color-accent: #3ddc97"), "{page}");
        assert!(page.contains(".dark { --x: 1; }") && !page.contains("prefers-color"), "{page}");
        assert!(page.contains("<a href=\"https://shop.example/imprint\">Imprint</a>"), "{page}");
        assert_eq!(page.matches("<section").count(), 2);
    }

    #[test]
    fn chinese_pages_have_their_own_links_and_bold_texts_their_own_font() {
        let folder = std::env::temp_dir().join(format!("doorbuster-brand-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = |name: &str| {
            let path = folder.join(name);
            std::fs::write(&path, name).expect("a file");
            path.to_str().expect("a path").to_owned()
        };
        let (plain, bold) = (file("a.woff2"), file("b.woff2"));
        let only_bold = settings(&[("DOORBUSTER_PAGE__THEME__FONT_BOLD", &bold)]);
        let error = only_bold.expect_err("no plain font");
        assert!(error.contains("page.theme.font_bold") && error.contains("needs"), "{error}");
        let settings = settings(&[
            ("DOORBUSTER_PAGE__THEME__FONT", &plain),
            ("DOORBUSTER_PAGE__THEME__FONT_BOLD", &bold),
            ("DOORBUSTER_PAGE__THEME__FOOTER", "Imprint=/imprint"),
            ("DOORBUSTER_PAGE__THEME__FOOTER_ZH", "法律声明=/zh/imprint"),
        ])
        .expect("valid settings");
        let mut sources: HashMap<_, _> = [STYLES, "sale.html"]
            .map(|name| (name.to_owned(), AssetSource::generated(END.to_owned())))
            .into();
        apply(&settings, &mut sources);
        let styles = sources[STYLES].text().into_owned();
        for part in [
            "font-weight: 400 500;\n  src: url(\"/assets/shop-font.woff2\")",
            "font-weight: 600 900;\n  src: url(\"/assets/shop-font-bold.woff2\")",
            ":root:lang(zh) .foot:not([lang]) { display: none; }",
        ] {
            assert!(styles.contains(part), "{part}\n{styles}");
        }
        assert_eq!(&*sources["shop-font-bold.woff2"].data, b"b.woff2");
        assert_eq!(
            sources["sale.html"].text(),
            "<footer class=\"foot\"><a href=\"/imprint\">Imprint</a></footer>\n<footer \
             class=\"foot\" lang=\"zh-Hans\"><a href=\"/zh/imprint\">法律声明</a></footer>\n</body>"
        );
        let preview = preview(&settings, "");
        for font in ["YS53b2ZmMg==", "Yi53b2ZmMg=="] {
            assert!(preview.contains(font), "{preview}");
        }
        std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    }

    #[test]
    fn a_brand_that_cannot_be_read_is_refused_at_the_start() {
        let with = |at: usize, value: &'static str| {
            let mut colors = COLORS;
            colors[at].1 = value;
            settings(&colors)
        };
        for (at, value, path, reason) in [
            (1, "#ffffff", "page.theme.on_accent", "#ffffff has a contrast of 1."),
            (2, "#5ad6a0", "page.theme.accent_text", "#5ad6a0 has a contrast of"),
            (0, "#203030", "page.theme.accent", "#203030 has a contrast of"),
            (3, "mint", "page.theme.accent_wash", "is not a colour"),
        ] {
            let error = with(at, value).expect_err("the brand is refused");
            assert!(error.contains(path) && error.contains(reason), "{value}: {error}");
        }
        let error = settings(&COLORS[..3]).expect_err("one problem is missing");
        assert!(error.contains("accent_wash") && error.contains("is missing"), "{error}");
        let missing = [("DOORBUSTER_PAGE__THEME__LOGO", "/nowhere/logo.svg")];
        assert!(settings(&missing).expect_err("no file").contains("cannot read /nowhere/logo.svg"));
        let script = [("DOORBUSTER_PAGE__THEME__FOOTER", "Imprint=javascript:alert(1)")];
        assert!(settings(&script).expect_err("no link").contains("is not a link"));
    }
}
