//! The listening socket, with connections that can be cut from inside a handler.
//!
//! A real provider drops connections without an answer, which an HTTP framework does not let a handler do.
//! So each accepted socket carries a [`Line`]; once cut, every read and write on the socket fails and the
//! client sees the connection close at exactly that byte.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::clock;

/// Pause after a failed accept (such as too many open files), so that the loop does not spin.
const ACCEPT_RETRY_MS: u64 = 50;

/// What a handler knows of, and may do to, the connection its request came in on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    cut: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
}

impl Line {
    /// Makes every further read and write fail.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// Counts one more request on this connection and returns its number, from 1.
    pub(crate) fn count_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn check(&self) -> io::Result<()> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut by the sandbox"));
        }
        Ok(())
    }
}

impl Connected<IncomingStream<'_, Socket>> for Line {
    fn connect_info(stream: IncomingStream<'_, Socket>) -> Self {
        stream.io().line.clone()
    }
}

/// The listening socket.
#[derive(Debug)]
pub(crate) struct Socket(pub(crate) TcpListener);

impl Listener for Socket {
    type Io = CuttableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok((stream, peer)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "cannot switch off delayed writes");
                    }
                    return (CuttableStream { stream, line: Line::default() }, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "the sandbox cannot accept a connection");
                    clock::pause(ACCEPT_RETRY_MS).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A TCP stream that stops working when its line is cut.
#[derive(Debug)]
pub(crate) struct CuttableStream {
    stream: TcpStream,
    line: Line,
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.line.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
