//! What changes, and what is done when something does. Leptos makes a copy of its code (10 kB for a list) for each type of
//! closure that it is given; here closures of all types become one, so that the page has that code once.

use std::sync::Arc;

use leptos::ev::MouseEvent;
use leptos::prelude::{AnyView, Effect, For, IntoAny, Memo, view};

/// Words that change.
pub type Text = Box<dyn Fn() -> String + Send>;
/// What is so or not.
pub type Flag = Box<dyn Fn() -> bool + Send>;
/// What is there or not, or not always the same.
pub type Part = Box<dyn Fn() -> Option<AnyView> + Send>;

/// Returns words that change.
pub fn text<W: Into<String>>(words: impl Fn() -> W + Send + 'static) -> Text {
    Box::new(move || words().into())
}

/// Returns what is so or not.
pub fn flag(is_so: impl Fn() -> bool + Send + 'static) -> Flag {
    Box::new(is_so)
}

/// Returns what is there or not, or not always the same.
pub fn part<V: IntoAny>(view: impl Fn() -> Option<V> + Send + 'static) -> Part {
    Box::new(move || view().map(IntoAny::into_any))
}

/// What is done at a click.
pub type Click = Box<dyn FnMut(MouseEvent)>;

/// Returns what is done at a click.
pub fn click(done: impl FnMut(MouseEvent) + 'static) -> Click {
    Box::new(done)
}

/// Returns what follows from other values; it is told on only when it has changed.
pub fn memo<T: PartialEq + Send + Sync + 'static>(of: impl Fn() -> T + Send + Sync + 'static) -> Memo<T> {
    let of: Box<dyn Fn() -> T + Send + Sync> = Box::new(of);
    Memo::new(move |_| of())
}

/// Does something now, and again when what it read has changed.
pub fn effect(done: impl FnMut() + 'static) {
    let mut done: Box<dyn FnMut()> = Box::new(done);
    Effect::new(move |_| done());
}

/// One row of a list, and how to make it.
struct Row {
    key: String,
    make: Box<dyn FnOnce() -> AnyView + Send>,
}

/// Returns a list. A row stays as long as an item with its key is there; for a new key, `row` makes one.
pub fn rows<T: Send + 'static, V: IntoAny>(
    items: impl Fn() -> Vec<T> + Send + 'static,
    key: fn(&T) -> String,
    row: impl Fn(T) -> V + Send + Sync + 'static,
) -> AnyView {
    let row = Arc::new(row);
    let made = move |item: T| {
        let row = Arc::clone(&row);
        Row { key: key(&item), make: Box::new(move || row(item).into_any()) }
    };
    list(Box::new(move || items().into_iter().map(&made).collect()))
}

fn list(each: Box<dyn Fn() -> Vec<Row> + Send>) -> AnyView {
    view! { <For each=each key=|row| row.key.clone() children=|row| (row.make)() /> }.into_any()
}
