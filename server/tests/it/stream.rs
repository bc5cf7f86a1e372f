//! The event stream over a real WebSocket.

use std::io::Cursor;

use futures_util::{SinkExt as _, StreamExt as _};
use server::shutdown::Tasks;
use server::{gauge, watch};
use shared::wire::event::Event;
use shared::wire::stream::{OutboxView, SILENCE, StreamFrame};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, accept_async, connect_async};

use crate::support::app::{App, PATIENCE};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn message(socket: &mut Socket) -> Message {
    loop {
        let message = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        if !matches!(message, Message::Ping(_) | Message::Pong(_)) {
            return message;
        }
    }
}

/// The next frame of any kind.
async fn any_frame(socket: &mut Socket) -> StreamFrame {
    serde_json::from_str(message(socket).await.to_text().unwrap()).unwrap()
}

/// The next frame that isn't a heartbeat.
async fn frame(socket: &mut Socket) -> StreamFrame {
    loop {
        match any_frame(socket).await {
            StreamFrame::Heartbeat { .. } => {}
            frame => return frame,
        }
    }
}

#[tokio::test]
async fn a_reader_gets_a_snapshot_and_then_what_happens() {
    let app = App::start().await;
    let before = app.upload("alice", "before", "x").await;
    let (mut socket, _) = connect_async(format!("ws://{}/ws", app.address)).await.unwrap();
    let StreamFrame::Snapshot { overview, missed: 0, .. } = frame(&mut socket).await else { panic!("no snapshot") };
    assert!(overview.files.contains_key(&before.id.parse().unwrap()));
    let after = app.upload("alice", "after", "xy").await;
    let StreamFrame::Batch { entries } = frame(&mut socket).await else { panic!("no batch") };
    assert_eq!(entries[0].seq, overview.seq + 1);
    let Event::FileStored { file, size_bytes, .. } = &entries[0].event else { panic!("{entries:?}") };
    assert_eq!((file.as_str(), *size_bytes), (after.id.as_str(), 2));
}

#[tokio::test]
async fn a_reader_that_says_too_much_is_dropped() {
    let app = App::start().await;
    let (mut socket, _) = connect_async(format!("ws://{}/ws", app.address)).await.unwrap();
    frame(&mut socket).await;
    socket.send(Message::text("x".repeat(100_000))).await.unwrap();
    let dropped = async { while let Some(Ok(_)) = socket.next().await {} };
    timeout(PATIENCE, dropped).await.unwrap();
}

#[tokio::test]
async fn readers_hear_that_the_server_stops() {
    let app = App::start().await;
    let (mut socket, _) = connect_async(format!("ws://{}/ws", app.address)).await.unwrap();
    frame(&mut socket).await;
    app.state.tasks.cancel();
    let close = loop {
        match message(&mut socket).await {
            Message::Close(close) => break close,
            _heartbeat => {}
        }
    };
    assert_eq!(close.map(|close| close.code), Some(CloseCode::Away));
}

#[tokio::test]
async fn readers_hear_what_waits_in_the_outbox_while_it_does() {
    let app = App::start().await;
    let (store, hub, token) = (app.state.store.clone(), app.state.hub.clone(), app.state.tasks.token().clone());
    app.state.tasks.spawn(gauge::run(store, hub, token));
    let (mut socket, _) = connect_async(format!("ws://{}/ws", app.address)).await.unwrap();
    app.upload("alice", "a", "x").await;
    let mut told = async |waiting: u64| {
        let wanted = Some(OutboxView { waiting, set_aside: 0 });
        while !matches!(any_frame(&mut socket).await, StreamFrame::Heartbeat { outbox, .. } if outbox == wanted) {}
    };
    told(1).await;
    let rows = app.state.store.outbox_pending(0, 10).await.unwrap();
    app.state.store.outbox_sent(rows.into_iter().map(|row| row.message_id).collect()).await.unwrap();
    told(0).await;
}

#[tokio::test]
async fn watch_notices_a_server_that_has_fallen_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (site, tasks) = (listener.local_addr().unwrap().to_string().parse().unwrap(), Tasks::default());
    let token = tasks.token().clone();
    let watching = token.clone();
    let watching = Tasks::default()
        .spawn(async move { watch::run(&site, None, false, &mut Cursor::new(Vec::new()), &watching).await });
    let connection = async || accept_async(listener.accept().await.unwrap().0).await.unwrap();
    let first = timeout(PATIENCE, connection()).await.unwrap();
    // Nothing comes on it, and nobody closes it: it is given up.
    let _second = timeout(SILENCE + PATIENCE, connection()).await.unwrap();
    drop(first);
    token.cancel();
    timeout(PATIENCE, watching).await.unwrap().unwrap().unwrap();
}
