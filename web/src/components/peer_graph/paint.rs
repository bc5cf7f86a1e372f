//! Puts a scene on a canvas. Each state of a peer has a colour and a shape, so that neither is needed to tell it.

use std::f64::consts::TAU;

use shared::wire::event::PeerState;
use wasm_bindgen::JsValue;
use web_sys::{CanvasRenderingContext2d, CssStyleDeclaration, HtmlCanvasElement};

use crate::layout::scene::{Node, Scene};
use crate::layout::{Point, Size};

/// Half a node's width.
const RADIUS: f64 = 9.0;
/// Beyond this many peers, labels would cover each other.
const LABEL_LIMIT: usize = 60;

/// The colours, from the style sheet.
#[derive(Debug)]
pub struct Palette {
    up: String,
    stands_by: String,
    left: String,
    killed: String,
    remote: String,
    link: String,
    news: String,
    echo: String,
    text: String,
    ground: String,
    font: String,
}

/// When and how large to paint.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Now, by the page's clock.
    pub now_ms: f64,
    /// The canvas's size in CSS pixels.
    pub size: Size,
    /// Whether the user wants no motion: links light up instead of carrying dots.
    pub still: bool,
}

impl Palette {
    /// The colours that hold for `canvas` now.
    pub fn of(canvas: &HtmlCanvasElement) -> Option<Self> {
        let style = web_sys::window()?.get_computed_style(canvas).ok().flatten()?;
        Some(Self {
            up: colour(&style, "--good"),
            stands_by: colour(&style, "--warn"),
            left: colour(&style, "--idle"),
            killed: colour(&style, "--bad"),
            remote: colour(&style, "--info"),
            link: colour(&style, "--link"),
            news: colour(&style, "--accent"),
            echo: colour(&style, "--idle"),
            text: colour(&style, "--text"),
            ground: colour(&style, "--card"),
            font: style.get_property_value("font-family").unwrap_or_default(),
        })
    }

    fn of_state(&self, state: PeerState) -> &str {
        match state {
            PeerState::Up => &self.up,
            PeerState::StandsBy => &self.stands_by,
            PeerState::Left | PeerState::Unknown => &self.left,
            PeerState::Killed => &self.killed,
            PeerState::Remote => &self.remote,
        }
    }
}

fn colour(style: &CssStyleDeclaration, name: &str) -> String {
    style.get_property_value(name).map_or_else(|_| "gray".to_owned(), |value| value.trim().to_owned())
}

/// Paints the whole scene.
pub fn paint(context: &CanvasRenderingContext2d, scene: &Scene, palette: &Palette, moment: Moment) {
    context.clear_rect(0.0, 0.0, moment.size.width, moment.size.height);
    links(context, scene, palette);
    messages(context, scene, palette, moment);
    for (_, node) in scene.nodes.entries() {
        // A shape that can't be drawn (a negative radius) can't occur: the radius is a constant.
        if shape(context, node, palette).is_err() {
            return;
        }
    }
    if scene.nodes.entries().len() <= LABEL_LIMIT {
        labels(context, scene, palette, moment.size);
    }
}

fn links(context: &CanvasRenderingContext2d, scene: &Scene, palette: &Palette) {
    context.set_stroke_style_str(&palette.link);
    context.set_line_width(1.0);
    context.begin_path();
    for (from, to) in &scene.links {
        if let (Some(from), Some(to)) = (scene.nodes.get(from), scene.nodes.get(to)) {
            line(context, from.at, to.at);
        }
    }
    context.stroke();
}

fn messages(context: &CanvasRenderingContext2d, scene: &Scene, palette: &Palette, moment: Moment) {
    for particle in &scene.particles {
        let ends = scene.nodes.get(&particle.from).zip(scene.nodes.get(&particle.to));
        let (Some((from, to)), Some(progress)) = (ends, particle.progress(moment.now_ms)) else { continue };
        let (colour, radius) = if particle.fresh { (&palette.news, 5.0) } else { (&palette.echo, 3.0) };
        if moment.still {
            context.set_stroke_style_str(colour);
            context.set_line_width(radius / 1.5);
            context.begin_path();
            line(context, from.at, to.at);
            context.stroke();
            continue;
        }
        let at = from.at.towards(to.at, progress);
        context.set_fill_style_str(colour);
        context.begin_path();
        if context.arc(at.x, at.y, radius, 0.0, TAU).is_ok() {
            context.fill();
        }
    }
}

/// Up: a disc. Left or standing by: a ring. Killed: a cross. Elsewhere: a diamond, hollow where it may be gone.
fn shape(context: &CanvasRenderingContext2d, node: &Node, palette: &Palette) -> Result<(), JsValue> {
    let (Point { x, y }, colour) = (node.at, palette.of_state(node.state));
    context.set_fill_style_str(&palette.ground);
    context.set_stroke_style_str(colour);
    context.set_line_width(2.5);
    context.begin_path();
    match node.state {
        PeerState::Up => {
            context.set_fill_style_str(colour);
            context.arc(x, y, RADIUS, 0.0, TAU)?;
        }
        PeerState::Left | PeerState::StandsBy => context.arc(x, y, RADIUS - 1.0, 0.0, TAU)?,
        PeerState::Killed => {
            let arm = RADIUS * 0.75;
            line(context, Point { x: x - arm, y: y - arm }, Point { x: x + arm, y: y + arm });
            line(context, Point { x: x - arm, y: y + arm }, Point { x: x + arm, y: y - arm });
        }
        PeerState::Remote | PeerState::Unknown => {
            if node.state == PeerState::Remote {
                context.set_fill_style_str(colour);
            }
            context.move_to(x, y - RADIUS);
            context.line_to(x + RADIUS, y);
            context.line_to(x, y + RADIUS);
            context.line_to(x - RADIUS, y);
            context.close_path();
        }
    }
    context.fill();
    context.stroke();
    Ok(())
}

/// Each label stands outside the ring: above nodes of the upper half, below those of the lower.
fn labels(context: &CanvasRenderingContext2d, scene: &Scene, palette: &Palette, size: Size) {
    context.set_text_align("center");
    context.set_text_baseline("middle");
    for (peer, node) in scene.nodes.entries() {
        let outward = if node.at.y < size.middle().y - 1.0 { -1.0 } else { 1.0 };
        let below = |distance: f64| Point { x: node.at.x, y: node.at.y + outward * distance };
        context.set_font(&format!("600 12px {}", palette.font));
        write(context, &node.label, below(19.0), &palette.text);
        if scene.nodes.entries().len() <= LABEL_LIMIT / 3 {
            context.set_font(&format!("11px {}", palette.font));
            write(context, &peer.short(), below(33.0), &palette.left);
        }
    }
}

fn write(context: &CanvasRenderingContext2d, text: &str, at: Point, colour: &str) {
    context.set_fill_style_str(colour);
    if let Err(error) = context.fill_text(text, at.x, at.y) {
        leptos::logging::warn!("a label can't be drawn: {error:?}");
    }
}

fn line(context: &CanvasRenderingContext2d, from: Point, to: Point) {
    context.move_to(from.x, from.y);
    context.line_to(to.x, to.y);
}
