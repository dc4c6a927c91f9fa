//! A body as the XML reader wants it: buffered, in UTF-8, without the control characters that XML forbids.
//!
//! One object with a stray byte must not make a whole calendar unreadable, so such bytes become U+FFFD here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures_util::stream::Stream;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use crate::driver::DriverError;

/// A body as it arrives.
pub(super) type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, DriverError>> + Send>>;

/// The body as a buffered reader. Its own error is kept beside, because the XML reader would wrap it up for good.
pub(super) struct Source {
    stream: ByteStream,
    current: Bytes,
    /// The beginning of a character whose end has not arrived.
    pending: Vec<u8>,
    error: Option<DriverError>,
}

impl Source {
    pub(super) fn new(stream: ByteStream) -> Self {
        Self { stream, current: Bytes::new(), pending: Vec::new(), error: None }
    }

    /// Why the body broke off, once.
    pub(super) fn take_error(&mut self) -> Option<DriverError> {
        self.error.take()
    }

    fn clean(&mut self, chunk: Bytes) -> Bytes {
        let chunk = if self.pending.is_empty() {
            chunk
        } else {
            let mut joined = std::mem::take(&mut self.pending);
            joined.extend_from_slice(&chunk);
            Bytes::from(joined)
        };
        let text = match std::str::from_utf8(&chunk) {
            Ok(_) => chunk,
            Err(error) if error.error_len().is_none() => {
                let (whole, rest) = chunk.split_at(error.valid_up_to());
                self.pending = rest.to_vec();
                chunk.slice(..whole.len())
            }
            Err(_) => self.replace_strays(&chunk),
        };
        without_controls(text)
    }

    fn replace_strays(&mut self, chunk: &[u8]) -> Bytes {
        let mut text = String::with_capacity(chunk.len());
        let mut pieces = chunk.utf8_chunks().peekable();
        while let Some(piece) = pieces.next() {
            text.push_str(piece.valid());
            let stray = piece.invalid();
            let may_go_on = std::str::from_utf8(stray).is_err_and(|error| error.error_len().is_none());
            if pieces.peek().is_none() && may_go_on {
                self.pending = stray.to_vec();
            } else if !stray.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Bytes::from(text)
    }
}

impl AsyncBufRead for Source {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.current.is_empty() {
            match this.stream.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) if this.pending.is_empty() => return Poll::Ready(Ok(&[])),
                Poll::Ready(None) => {
                    this.pending.clear();
                    this.current = Bytes::from_static("\u{fffd}".as_bytes());
                }
                Poll::Ready(Some(Ok(chunk))) => this.current = this.clean(chunk),
                Poll::Ready(Some(Err(error))) => {
                    this.error = Some(error);
                    return Poll::Ready(Err(io::Error::other("the body broke off")));
                }
            }
        }
        Poll::Ready(Ok(&this.current))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.get_mut();
        this.current.advance(amount.min(this.current.len()));
    }
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let taken = match self.as_mut().poll_fill_buf(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(bytes)) => {
                let taken = bytes.len().min(buffer.remaining());
                buffer.put_slice(bytes.get(..taken).unwrap_or_default());
                taken
            }
        };
        self.consume(taken);
        Poll::Ready(Ok(()))
    }
}

fn without_controls(chunk: Bytes) -> Bytes {
    let is_forbidden = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    // to the end without a look in between, which is many bytes at once
    if chunk.iter().fold(false, |found, byte| found | is_forbidden(byte)) {
        chunk.iter().copied().filter(|byte| !is_forbidden(byte)).collect()
    } else {
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(chunks: &[&[u8]]) -> String {
        let mut source = Source::new(Box::pin(futures_util::stream::empty()));
        let mut text = Vec::new();
        for chunk in chunks {
            text.extend_from_slice(&source.clean(Bytes::copy_from_slice(chunk)));
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn characters_may_be_cut_anywhere_and_strays_are_replaced() {
        assert_eq!(cleaned(&[b"a\xc3", b"\xa4b"]), "aäb");
        assert_eq!(cleaned(&[b"a\xe2", b"\x82", b"\xac"]), "a€");
        assert_eq!(cleaned(&[b"caf\xe9 au lait\xff"]), "caf\u{fffd} au lait\u{fffd}");
        assert_eq!(cleaned(&[b"\xffa\xc3", b"\xa4"]), "\u{fffd}aä");
        assert_eq!(cleaned(&[b"a\x00b\x0bc\r\n"]), "abc\r\n");
    }
}
