//! The concurrency lab: a lane for each thread, what they said, and what the race lost.

use leptos::prelude::{
    AriaAttributes, ClassAttribute, CollectView, CustomAttribute, ElementChild, Get, GlobalAttributes, IntoView,
    Signal, With, component, view,
};
use shared::wire::lab::{LabStep, LabThread, RaceOut};

use crate::components::changing::{part, rows};
use crate::model::lab::{self, LabView};

/// One lane for each thread, with what it does now.
#[component]
pub fn LabLanes(
    /// The run.
    lab: Signal<LabView>,
) -> impl IntoView {
    let lanes = move || {
        let lane = |(thread, step): &(LabThread, LabStep)| {
            view! {
                <li data-mood=lab::mood(step)>
                    <strong>{thread.to_string()}</strong>
                    <span>{lab::words(step)}</span>
                </li>
            }
        };
        lab.with(|lab| lab.lanes.entries().iter().map(lane).collect_view())
    };
    view! { <ul class="lanes" aria-label="Threads">{lanes}</ul> }
}

/// What the threads said, oldest first.
#[component]
pub fn LabLog(
    /// The run.
    lab: Signal<LabView>,
) -> impl IntoView {
    let lines = move || lab.with(|lab| lab.lines.iter().rev().cloned().collect());
    view! {
        <div class="lab-log" data-testid="lab-log" role="log" aria-live="off" aria-label="Log of the run" tabindex="0">
            <ol>
                {rows(lines, |(seq, _)| seq.to_string(), |(_, line)| view! { <li>{line}</li> })}
            </ol>
        </div>
    }
}

/// What each variant of the race lost.
#[component]
pub fn RaceTable(
    /// The variants that are done.
    race: Signal<Vec<RaceOut>>,
) -> impl IntoView {
    let row = |result: RaceOut| {
        let lost = result.lost > 0;
        view! {
            <tr data-lost=lost.to_string()>
                <th scope="row">{result.method}</th>
                <td>{result.threads}</td>
                <td>{grouped(result.expected.into())}</td>
                <td>{grouped(result.actual.into())}</td>
                <td class="lost">{grouped(result.lost.into())}</td>
                <td>{grouped(result.per_second.into())}</td>
            </tr>
        }
    };
    part(move || {
        let results = race.get();
        (!results.is_empty()).then(|| {
            view! {
                <div class="scroll" role="region" aria-label="Race" tabindex="0">
                    <table class="race" data-testid="lab-race">
                        <caption>"Race: threads add one to the same number"</caption>
                        <thead>
                            <tr>
                                <th scope="col">"Method"</th>
                                <th scope="col">"Threads"</th>
                                <th scope="col">"Expected"</th>
                                <th scope="col">"Actual"</th>
                                <th scope="col">"Lost"</th>
                                <th scope="col">"Counted/s"</th>
                            </tr>
                        </thead>
                        <tbody>{results.into_iter().map(row).collect_view()}</tbody>
                    </table>
                </div>
            }
        })
    })
}

/// A whole number with a thin space between groups of three digits.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index % 3 == first {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three_from_the_right() {
        let shown = [0, 999, 1000, 1_234_567].map(|number| grouped(number).replace('\u{202f}', " "));
        assert_eq!(shown, ["0", "999", "1 000", "1 234 567"]);
    }
}
