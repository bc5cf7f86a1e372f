//! The overlay as a picture: peers, their links, and the messages that travelled. It draws while something moves and
//! rests otherwise; all it shows came with the event stream.

pub mod paint;

use leptos::html::Canvas;
use leptos::leptos_dom::helpers::{AnimationFrameRequestHandle, request_animation_frame_with_handle};
use leptos::prelude::{
    AriaAttributes, ClassAttribute, CustomAttribute, Get, GetUntracked, GlobalAttributes, IntoView, LocalStorage,
    NodeRef, NodeRefAttribute, RwSignal, Set, SetValue, Signal, StoredValue, UpdateUntracked, UpdateValue, With,
    component, on_cleanup, view,
};
use shared::ids::PeerId;
use shared::wire::overview::Overview;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, MediaQueryList, ResizeObserver};

use crate::components::changing::{effect, memo, text};
use crate::components::peer_graph::paint::Palette;
use crate::format;
use crate::layout::Size;
use crate::layout::scene::{Scene, Topology};
use crate::model::{Hop, Model};

/// The canvas and what is on it.
#[derive(Debug)]
struct Picture {
    canvas: HtmlCanvasElement,
    context: CanvasRenderingContext2d,
    scene: Scene,
    topology: Topology,
    requested: Option<AnimationFrameRequestHandle>,
}

type Slot = StoredValue<Option<Picture>, LocalStorage>;

/// The picture. `data-peers` and `data-links` say what is drawn.
#[component]
pub fn PeerGraph(
    /// What the event stream told.
    model: RwSignal<Model>,
    /// Whether that may no longer be so: then it has no colour.
    old: Signal<bool>,
) -> impl IntoView {
    let canvas = NodeRef::<Canvas>::new();
    let slot: Slot = StoredValue::new_local(None);
    let drawn = RwSignal::new((0, 0));
    let topology = memo(move || model.with(topology_of));
    let label = text(move || {
        let (peers, links) = drawn.get();
        format!("Picture of the overlay: {}, {}", format::counted(peers, "peer"), format::counted(links, "link"))
    });

    effect(move || {
        if let Some(canvas) = canvas.get() {
            slot.set_value(open(canvas));
            redraw_when_the_page_changes(slot, drawn);
        }
    });
    effect(move || {
        canvas.get();
        let topology = topology.get();
        model.with(|_| ());
        let hops = model.try_update_untracked(Model::take_hops).unwrap_or_default();
        let due = slot.try_update_value(|slot| slot.as_mut().is_some_and(|picture| picture.note(&topology, hops)));
        if due == Some(true) {
            request(slot, drawn);
        }
    });
    effect(move || {
        old.get();
        request(slot, drawn);
    });
    on_cleanup(move || {
        slot.try_update_value(|slot| slot.take().and_then(|picture| picture.requested).map(|frame| frame.cancel()));
    });
    view! {
        <canvas
            class="topology"
            data-testid="topology"
            role="img"
            aria-label=label
            data-peers=text(move || drawn.get().0.to_string())
            data-links=text(move || drawn.get().1.to_string())
            node_ref=canvas
        ></canvas>
    }
}

impl Picture {
    /// Takes over what changed; whether there is something to draw.
    fn note(&mut self, topology: &Topology, hops: impl IntoIterator<Item = Hop>) -> bool {
        let changed = self.topology != *topology;
        if changed {
            self.topology = topology.clone();
            self.arrange();
        }
        let now_ms = now_ms();
        let before = self.scene.particles.len();
        for hop in hops {
            self.scene.launch(now_ms, (hop.from, hop.to), hop.hops.unwrap_or(1), hop.fresh);
        }
        changed || self.scene.particles.len() > before
    }

    fn arrange(&mut self) {
        self.scene.arrange(&self.topology, self.size(), prefers("(prefers-reduced-motion: reduce)"));
    }

    fn size(&self) -> Size {
        Size { width: f64::from(self.canvas.client_width()), height: f64::from(self.canvas.client_height()) }
    }

    /// Draws one frame; whether another is due.
    fn draw(&mut self) -> bool {
        let now_ms = now_ms();
        let moving = self.scene.step(now_ms);
        if let Some(palette) = Palette::of(&self.canvas) {
            let still = prefers("(prefers-reduced-motion: reduce)");
            paint::paint(&self.context, &self.scene, &palette, paint::Moment { now_ms, size: self.size(), still });
        }
        moving
    }

    /// Gives the canvas as many pixels as it has on the screen, at most two for each CSS pixel.
    fn fit(&mut self) {
        let ratio = web_sys::window().map_or(1.0, |window| window.device_pixel_ratio()).clamp(1.0, 2.0);
        let size = self.size();
        self.canvas.set_width(whole(size.width * ratio));
        self.canvas.set_height(whole(size.height * ratio));
        if let Err(error) = self.context.set_transform(ratio, 0.0, 0.0, ratio, 0.0, 0.0) {
            leptos::logging::warn!("the picture can't be scaled: {error:?}");
        }
        self.arrange();
    }
}

fn open(canvas: HtmlCanvasElement) -> Option<Picture> {
    let context = canvas.get_context("2d").ok().flatten()?.dyn_into().ok()?;
    let mut picture =
        Picture { canvas, context, scene: Scene::default(), topology: Topology::default(), requested: None };
    picture.fit();
    Some(picture)
}

/// Asks for one animation frame, unless one is asked for already; goes on as long as something moves.
fn request(slot: Slot, drawn: RwSignal<(u64, u64)>) {
    let frame = move || {
        let moving = slot.try_update_value(|slot| {
            let picture = slot.as_mut()?;
            picture.requested = None;
            let moving = picture.draw();
            Some((moving, count(picture.scene.nodes.entries().len()), count(picture.scene.links.len())))
        });
        let Some(Some((moving, peers, links))) = moving else { return };
        if drawn.get_untracked() != (peers, links) {
            drawn.set((peers, links));
        }
        if moving {
            request(slot, drawn);
        }
    };
    slot.try_update_value(|slot| {
        if let Some(picture) = slot.as_mut().filter(|picture| picture.requested.is_none()) {
            picture.requested = request_animation_frame_with_handle(frame).ok();
        }
    });
}

/// Draws anew when the canvas gets another size and when the colours change; until the component goes.
fn redraw_when_the_page_changes(slot: Slot, drawn: RwSignal<(u64, u64)>) {
    let resized = Closure::<dyn FnMut()>::new(move || {
        slot.try_update_value(|slot| slot.as_mut().map(Picture::fit));
        request(slot, drawn);
    });
    let recoloured = Closure::<dyn FnMut()>::new(move || request(slot, drawn));
    let observer = ResizeObserver::new(resized.as_ref().unchecked_ref()).ok();
    let scheme = media("(prefers-color-scheme: dark)");
    slot.try_update_value(|slot| {
        if let (Some(observer), Some(picture)) = (&observer, slot) {
            observer.observe(&picture.canvas);
        }
    });
    if let Some(scheme) = &scheme {
        scheme.set_onchange(Some(recoloured.as_ref().unchecked_ref()));
    }
    let kept = StoredValue::new_local((observer, scheme, resized, recoloured));
    on_cleanup(move || {
        kept.try_update_value(|(observer, scheme, _, _)| {
            observer.as_ref().map(ResizeObserver::disconnect);
            scheme.as_ref().map(|scheme| scheme.set_onchange(None))
        });
    });
}

fn topology_of(model: &Model) -> Topology {
    let Some(overview) = model.overview() else { return Topology::default() };
    let peers = model.peers_by_address().into_iter();
    let peers =
        peers.filter_map(|peer| Some((peer, overview.peers.get(&peer)?.state, model.peer_label(&peer)))).collect();
    Topology { peers, links: links(overview) }
}

/// The links, each once, the smaller id first: what either end says.
fn links(overview: &Overview) -> Vec<(PeerId, PeerId)> {
    let says = |peer: &PeerId, other| overview.peers.get(peer).is_some_and(|view| view.neighbours.contains(other));
    let ends = overview.peers.iter().flat_map(|(peer, view)| view.neighbours.iter().map(move |other| (peer, other)));
    let told_once = ends.filter(|(peer, other)| peer < other || !says(other, peer));
    told_once.map(|(peer, other)| (*peer.min(other), *peer.max(other))).collect()
}

fn media(query: &str) -> Option<MediaQueryList> {
    web_sys::window()?.match_media(query).ok().flatten()
}

fn prefers(query: &str) -> bool {
    media(query).is_some_and(|list| list.matches())
}

fn now_ms() -> f64 {
    web_sys::window().and_then(|window| window.performance()).map_or(0.0, |clock| clock.now())
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a canvas is no larger than a screen")]
fn whole(pixels: f64) -> u32 {
    pixels.round().max(1.0) as u32
}
