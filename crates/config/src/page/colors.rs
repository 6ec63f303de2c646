//! The colours of a shop's brand. The server refuses colours with too little contrast, so that a
//! brand cannot make a page unreadable.

use crate::check::SettingsReader;

/// Colours as `#rrggbb`, with enough contrast.
#[derive(Clone, Debug)]
pub struct ThemeColors {
    /// The fill colour of enabled buttons and of other enabled controls.
    pub accent: String,
    /// The colour of text on the accent.
    pub on_accent: String,
    /// The colour of accented text on a light background.
    pub accent_text: String,
    /// The light background of accented text.
    pub accent_wash: String,
}

/// The lowest allowed contrast of text, from WCAG 2.2 (1.4.3), level AA.
const TEXT_MIN: f64 = 4.5;
/// The lowest allowed contrast of a mark that is not text, from WCAG 2.2 (1.4.11), level AA.
const MARK_MIN: f64 = 3.0;
/// The text colours of the light scheme and of the dark scheme; see `look.css`.
const LIGHT_INK: &str = "#1b1810";
const DARK_INK: &str = "#f6f1e4";
/// The backgrounds of coloured text in the light scheme: the page and a card.
const LIGHT_GROUNDS: [&str; 2] = ["#f4f1ea", "#fffdf8"];
/// The background of coloured text in the dark scheme: a card.
const DARK_GROUND: &str = "#1c1912";
/// The background of the small pictures of a product; see `look-product.css`.
const GALLERY_GROUND: &str = "#17120b";
/// In the dark scheme, the background of accented text is a mixture. This percentage of the mixture
/// is the accent colour, and the rest is the dark background.
pub const DARK_WASH_PERCENT: u8 = 14;
/// The colour of a button under the mouse is a mixture. This percentage of the mixture is the
/// accent colour, and the rest is white.
const HOVER_PERCENT: u8 = 78;

const COLORS: [&str; 4] = [
    "page.theme.accent",
    "page.theme.on_accent",
    "page.theme.accent_text",
    "page.theme.accent_wash",
];

/// Reads the four colours. The settings must have all of them, or none.
pub(super) fn colors(read: &mut SettingsReader<'_>) -> Option<ThemeColors> {
    let texts = COLORS.map(|path| read.text(path));
    if texts.iter().all(Option::is_none) {
        return None;
    }
    let mut is_complete = true;
    for (path, text) in COLORS.into_iter().zip(&texts) {
        match text {
            None => read.fault(path, "is missing; set all four colours of page.theme, or none"),
            Some(text) if luminance(text).is_none() => {
                read.fault(path, "is not a colour; write it like #ffb000");
            }
            Some(_) => continue,
        }
        is_complete = false;
    }
    let [accent, on_accent, accent_text, accent_wash] = texts.map(Option::unwrap_or_default);
    let colors = ThemeColors { accent, on_accent, accent_text, accent_wash };
    if is_complete {
        for (path, detail) in unreadable(&colors) {
            read.fault(path, detail);
        }
    }
    Some(colors)
}

fn unreadable(colors: &ThemeColors) -> Vec<(&'static str, String)> {
    let [accent_path, on_path, text_path, wash_path] = COLORS;
    let ThemeColors { accent, on_accent, accent_text, accent_wash } = colors;
    let dark_wash = mixed(accent, DARK_GROUND, DARK_WASH_PERCENT);
    let hover = mixed(accent, "#ffffff", HOVER_PERCENT);
    let pairs = [
        (on_path, &**on_accent, accent_path, &**accent, TEXT_MIN),
        (on_path, on_accent, "a button under the mouse", &hover, TEXT_MIN),
        (text_path, accent_text, wash_path, accent_wash, TEXT_MIN),
        (text_path, accent_text, "the light page", LIGHT_GROUNDS[0], TEXT_MIN),
        (text_path, accent_text, "the light card", LIGHT_GROUNDS[1], TEXT_MIN),
        (wash_path, accent_wash, "the ink of the light scheme", LIGHT_INK, TEXT_MIN),
        (accent_path, accent, "the dark card", DARK_GROUND, TEXT_MIN),
        (accent_path, accent, "the dark wash", &dark_wash, TEXT_MIN),
        (accent_path, &dark_wash, "the ink of the dark scheme", DARK_INK, TEXT_MIN),
        (accent_path, accent, "the small pictures", GALLERY_GROUND, MARK_MIN),
    ];
    let mut faults = Vec::new();
    for (path, color, name, ground, least) in pairs {
        let contrast = contrast(color, ground);
        if contrast < least {
            let detail = format!(
                "{color} has a contrast of {contrast:.1} on {name} ({ground}); choose a colour \
                 with a contrast of at least {least}"
            );
            faults.push((path, detail));
        }
    }
    faults
}

fn parts(color: &str) -> Option<[u8; 3]> {
    let digits = color.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii())?;
    let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
    Some([part(0)?, part(2)?, part(4)?])
}

/// Mixes two colours as `color-mix(in srgb, …)` does.
fn mixed(color: &str, ground: &str, percent: u8) -> String {
    let (color, ground) = (parts(color).unwrap_or_default(), parts(ground).unwrap_or_default());
    let share = u16::from(percent);
    let mix = |at: usize| {
        (u16::from(color[at]) * share + u16::from(ground[at]) * (100 - share) + 50) / 100
    };
    format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
}

/// The relative luminance of `#rrggbb`, from 0 to 1.
fn luminance(color: &str) -> Option<f64> {
    let light = |part: u8| {
        let share = f64::from(part) / 255.0;
        if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    };
    let [red, green, blue] = parts(color)?.map(light);
    Some(0.2126 * red + 0.7152 * green + 0.0722 * blue)
}

/// The contrast ratio of WCAG 2.2, from 1 to 21.
fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one).unwrap_or(0.0), luminance(other).unwrap_or(0.0));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_colours_are_those_of_the_style_sheets() {
        let look = include_str!("../../../web/assets/look.css");
        for color in [LIGHT_INK, DARK_INK, LIGHT_GROUNDS[0], LIGHT_GROUNDS[1], DARK_GROUND] {
            assert!(look.contains(color), "{color}");
        }
        let hover =
            format!("color-mix(in srgb, var(--color-accent), #fff {}%)", 100 - HOVER_PERCENT);
        assert!(look.contains(&hover), "{hover}");
        let product = include_str!("../../../web/assets/look-product.css");
        assert!(product.contains(GALLERY_GROUND), "{GALLERY_GROUND}");
    }

    #[test]
    fn contrast_is_measured_as_wcag_defines_it() {
        let check = |one: &str, other: &str, expected: f64| {
            let found = contrast(one, other);
            assert!((found - expected).abs() < 0.01, "{one} on {other}: {found}");
        };
        check("#000000", "#ffffff", 21.0);
        check("#777777", "#ffffff", 4.48);
        check("#767676", "#ffffff", 4.54);
        check("#1b1400", "#1b1400", 1.0);
        assert_eq!(mixed("#ffb000", "#1c1912", 14), "#3c2e0f");
        assert_eq!(luminance("#12345"), None);
        assert_eq!(luminance("red"), None);
        assert_eq!(luminance("#äöü"), None);
    }

    fn faults([accent, on_accent, accent_text, accent_wash]: [&str; 4]) -> String {
        let [accent, on_accent] = [accent, on_accent].map(str::to_owned);
        let [accent_text, accent_wash] = [accent_text, accent_wash].map(str::to_owned);
        let colors = ThemeColors { accent, on_accent, accent_text, accent_wash };
        let lines = unreadable(&colors).into_iter().map(|(path, detail)| {
            let (detail, _) = detail.split_once("; choose").expect("the fault must say what to do");
            format!("{path}: {detail}\n")
        });
        lines.collect()
    }

    #[test]
    fn a_refused_colour_is_named_with_its_contrast_and_its_background() {
        for (colors, expected) in [
            (["#ffb000", "#1b1400", "#805000", "#fff0cc"], ""),
            (
                ["#7a7fff", "#000000", "#805000", "#fff0cc"],
                "page.theme.accent: #7a7fff has a contrast of 4.4 on the dark wash (#292733)\n",
            ),
            (
                ["#ffb000", "#805000", "#805000", "#fff0cc"],
                "page.theme.on_accent: #805000 has a contrast of 3.7 on page.theme.accent \
                 (#ffb000)\npage.theme.on_accent: #805000 has a contrast of 4.2 on a button under \
                 the mouse (#ffc138)\n",
            ),
            (
                ["#ffb000", "#1b1400", "#000000", "#767676"],
                "page.theme.accent_wash: #767676 has a contrast of 3.9 on the ink of the light \
                 scheme (#1b1810)\n",
            ),
        ] {
            assert_eq!(faults(colors), expected, "{colors:?}");
        }
        let dark = faults(["#5c5c5c", "#ffffff", "#805000", "#fff0cc"]);
        for part in ["2.6 on the dark card (#1c1912)", "2.8 on the small pictures (#17120b)"] {
            let expected = format!("page.theme.accent: #5c5c5c has a contrast of {part}\n");
            assert!(dark.contains(&expected), "{dark}");
        }
    }
}
