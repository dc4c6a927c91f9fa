//! Undoes a content coding piece by piece, with a bound on how much comes out of how little.
//!
//! The HTTP library could do this by itself, but tells nobody how many bytes went in.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

/// More output than this for each byte of input is taken for an attack. Calendars of equal events reach 100.
const MAX_RATIO: u64 = 250;
/// Small answers may have any ratio.
const RATIO_FREE_BYTES: u64 = 1 << 20;
/// Input is decoded in pieces of this size, so that the most that one piece can grow into stays small.
const PIECE_BYTES: usize = 4 << 10;

/// A content coding being undone.
#[derive(Debug)]
pub(super) struct Inflater {
    coding: Coding,
    received_bytes: u64,
    produced_bytes: u64,
}

#[derive(Debug)]
enum Coding {
    Identity,
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Deflate(Box<ZlibDecoder<Vec<u8>>>),
}

/// Why an answer could not be decoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum InflateError {
    #[error("it uses an unknown compression")]
    UnknownCoding,
    #[error("its compression is damaged")]
    Damaged(#[source] io::Error),
    #[error("it is compressed beyond reason")]
    Ratio,
    #[error("it is over the limit")]
    TooLarge,
}

impl Inflater {
    /// For the `Content-Encoding` of an answer.
    pub(super) fn for_coding(coding: Option<&str>) -> Result<Self, InflateError> {
        let coding = match coding.map(str::trim) {
            None => Coding::Identity,
            Some(name) if name.is_empty() || name.eq_ignore_ascii_case("identity") => Coding::Identity,
            Some(name) if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Coding::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))
            }
            Some(name) if name.eq_ignore_ascii_case("deflate") => {
                Coding::Deflate(Box::new(ZlibDecoder::new(Vec::new())))
            }
            Some(_) => return Err(InflateError::UnknownCoding),
        };
        Ok(Self { coding, received_bytes: 0, produced_bytes: 0 })
    }

    /// What comes out of the next piece; at most `limit` bytes come out in all.
    pub(super) fn feed(&mut self, chunk: Bytes, limit: u64) -> Result<Bytes, InflateError> {
        let mut output = Vec::new();
        for piece in chunk.chunks(PIECE_BYTES) {
            self.received_bytes += piece.len() as u64;
            let decoded = match &mut self.coding {
                Coding::Identity => break,
                Coding::Gzip(decoder) => decode(decoder.as_mut(), piece, MultiGzDecoder::get_mut)?,
                Coding::Deflate(decoder) => decode(decoder.as_mut(), piece, ZlibDecoder::get_mut)?,
            };
            self.produced_bytes += decoded.len() as u64;
            if self.produced_bytes > limit {
                return Err(InflateError::TooLarge);
            }
            if self.produced_bytes > RATIO_FREE_BYTES.max(self.received_bytes.saturating_mul(MAX_RATIO)) {
                return Err(InflateError::Ratio);
            }
            output.extend_from_slice(&decoded);
        }
        if matches!(self.coding, Coding::Identity) {
            self.produced_bytes += chunk.len() as u64;
            return if self.produced_bytes > limit { Err(InflateError::TooLarge) } else { Ok(chunk) };
        }
        Ok(Bytes::from(output))
    }
}

fn decode<D: Write>(
    decoder: &mut D,
    piece: &[u8],
    output: impl Fn(&mut D) -> &mut Vec<u8>,
) -> Result<Vec<u8>, InflateError> {
    decoder.write_all(piece).and_then(|()| decoder.flush()).map_err(InflateError::Damaged)?;
    Ok(std::mem::take(output(decoder)))
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        Bytes::from(encoder.finish().unwrap())
    }

    #[test]
    fn a_body_is_unpacked_in_any_pieces() {
        let packed = gzip(&b"BEGIN:VCALENDAR\r\n".repeat(5_000));
        let mut inflater = Inflater::for_coding(Some("GZIP")).unwrap();

        let text: Vec<u8> = packed
            .chunks(7)
            .flat_map(|piece| inflater.feed(Bytes::copy_from_slice(piece), u64::MAX).unwrap().to_vec())
            .collect();

        assert_eq!(text, b"BEGIN:VCALENDAR\r\n".repeat(5_000));
    }

    #[test]
    fn what_is_not_packed_is_counted_too() {
        let mut inflater = Inflater::for_coding(None).unwrap();
        let piece = || Bytes::from_static(b"BEGIN:VCAL");

        assert_eq!(inflater.feed(piece(), 15).unwrap(), piece());
        assert!(matches!(inflater.feed(piece(), 15), Err(InflateError::TooLarge)));
    }

    #[test]
    fn a_bomb_is_stopped_by_the_limit_and_by_the_ratio() {
        let bomb = gzip(&vec![b'0'; 40 << 20]);

        let over_limit = Inflater::for_coding(Some("gzip")).unwrap().feed(bomb.clone(), 1 << 16);
        let over_ratio = Inflater::for_coding(Some("gzip")).unwrap().feed(bomb, u64::MAX);

        assert!(matches!(over_limit, Err(InflateError::TooLarge)));
        assert!(matches!(over_ratio, Err(InflateError::Ratio)));
        assert!(matches!(Inflater::for_coding(Some("br")), Err(InflateError::UnknownCoding)));
    }
}
