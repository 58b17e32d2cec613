//! A picture of how writes spread: the share of nodes that have one, over the time since it was made.

use std::fmt::Write;

use super::spread::Spread;

/// The picture as SVG.
pub fn svg(spreads: &[Spread]) -> String {
    let mut svg = String::new();
    let mut line = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    line(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">"
    ));
    line(format!("<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>"));
    line(format!(
        "<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">Share of the nodes that have a write, over the \
         time since it was made</text>"
    ));
    for ms in [1, 3, 10, 30, 100, 300, 1_000, 3_000] {
        let x = x_of(ms);
        line(format!(
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{BOTTOM}\" stroke=\"#ddd\"/>"
        ));
        let below = BOTTOM + 16.0;
        line(format!("<text x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{ms} ms</text>"));
    }
    for percent in [0, 25, 50, 75, 100] {
        let y = y_of(f64::from(percent) / 100.0);
        line(format!(
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>"
        ));
        let (x, y) = (LEFT - 6.0, y + 4.0);
        line(format!("<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{percent}%</text>"));
    }
    for (place, spread) in spreads.iter().enumerate() {
        let color = COLORS[place / 2 % COLORS.len()];
        let dashes = if spread.loss_percent > 0 { " stroke-dasharray=\"5 3\"" } else { "" };
        let points = points(spread);
        line(format!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" \
             stroke-width=\"2\"{dashes}/>"
        ));
        let y = TOP + 14.0 + 18.0 * place as f64;
        let (from, to, text) = (RIGHT + 12.0, RIGHT + 42.0, RIGHT + 48.0);
        line(format!(
            "<line x1=\"{from}\" y1=\"{y}\" x2=\"{to}\" y2=\"{y}\" stroke=\"{color}\" \
             stroke-width=\"2\"{dashes}/>"
        ));
        let (nodes, loss, y) = (spread.nodes, spread.loss_percent, y + 4.0);
        line(format!("<text x=\"{text}\" y=\"{y}\">{nodes} nodes, {loss}% lost</text>"));
    }
    line("</svg>".to_owned());
    svg
}

/// A point for each pixel or so.
fn points(spread: &Spread) -> String {
    let mut points = String::new();
    let mut last = None;
    for step in 0..=STEPS {
        let ms = 10f64.powf(f64::from(step) / f64::from(STEPS) * DECADES).round() as u64;
        if last != Some(ms) {
            last = Some(ms);
            let (x, y) = (x_of(ms), y_of(spread.share_after(ms)));
            write!(points, "{x:.1},{y:.1} ").expect("a string takes everything");
        }
    }
    points.trim_end().to_owned()
}

fn x_of(ms: u64) -> f64 {
    LEFT + (RIGHT - LEFT) * (ms as f64).log10() / DECADES
}

fn y_of(share: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * share
}

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 640.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 360.0;
/// The time axis reaches from 1 ms to 10 to this power.
const DECADES: f64 = 3.5;
const STEPS: u32 = 300;
const COLORS: [&str; 4] = ["#1b6ca8", "#c0392b", "#1e8449", "#7d3c98"];
