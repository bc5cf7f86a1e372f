//! The event stream over a real WebSocket.

use futures_util::{SinkExt as _, StreamExt as _};
use shared::wire::stream::{Event, StreamFrame};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

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

async fn frame(socket: &mut Socket) -> StreamFrame {
    serde_json::from_str(message(socket).await.to_text().unwrap()).unwrap()
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
    let Message::Close(Some(close)) = message(&mut socket).await else { panic!("no goodbye") };
    assert_eq!(close.code, CloseCode::Away);
}
