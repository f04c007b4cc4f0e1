use super::{
    END_MAGIC, ENTRY, HEADER, MAGIC, MAX_BLOCK, SegmentName, TRAILER, VERSION, footer_crc,
};
use crate::batch::RecordBatch;
use bytes::{BufMut, Bytes, BytesMut};
use streamhouse_metadata::{Batch, Block, Segment, TopicPartition};

/// A segment that is still open: batches in the order of their arrival.
#[derive(Clone, Debug, Default)]
pub struct SegmentBuilder {
    added: Vec<Added>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Added {
    partition: TopicPartition,
    batch: RecordBatch,
    append_time_ms: i64,
}

/// A closed segment.
#[derive(Clone, Debug)]
pub struct Built {
    /// The object's body, in parts; the batches among them are not copies.
    pub body: Vec<Bytes>,
    /// What the commit needs to know.
    pub segment: Segment,
    /// For each batch of `segment`, in the order of its blocks and thus of the commit's outcomes,
    /// its place in the order of arrival.
    pub arrivals: Vec<usize>,
}

impl SegmentBuilder {
    /// An empty segment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a batch that arrived at `append_time_ms` by the agent's clock, and tells its place in
    /// the order of arrival. Batches of a partition keep that order.
    pub fn add(
        &mut self,
        partition: TopicPartition,
        batch: RecordBatch,
        append_time_ms: i64,
    ) -> usize {
        self.bytes += batch.bytes().len();
        self.added.push(Added { partition, batch, append_time_ms });
        self.added.len() - 1
    }

    /// Bytes of the batches added so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many batches were added.
    pub fn len(&self) -> usize {
        self.added.len()
    }

    /// Whether no batch was added.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
    }

    /// Closes the segment under `name`. Another call with another name makes the same segment
    /// anew, for the case that storing the first failed.
    pub fn build(&self, name: &SegmentName) -> Built {
        let mut arrivals = Vec::from_iter(0..self.added.len());
        arrivals.sort_by_key(|arrival| self.added[*arrival].partition);

        let header = header(name);
        let mut open = Layout { position: HEADER as u64, blocks: Vec::new() };
        let mut body = Vec::with_capacity(self.added.len() + 2);
        let mut footer = BytesMut::new();
        body.push(header.clone());
        for run in arrivals.chunk_by(|a, b| self.added[*a].partition == self.added[*b].partition) {
            let mut rest = run;
            while !rest.is_empty() {
                let (block, after) = rest.split_at(self.block_len(rest));
                self.close_block(block, &mut open, &mut body, &mut footer);
                rest = after;
            }
        }

        let places = places(open.position, footer.len() as u32);
        let crc = footer_crc(&header, &footer, &places);
        let bytes = open.position + (footer.len() + TRAILER) as u64;
        footer.put_slice(&places);
        footer.put_u32(crc);
        footer.put_slice(&END_MAGIC);
        body.push(footer.freeze());
        let object = name.to_string().into();
        Built {
            body,
            segment: Segment { id: name.id, object, bytes, blocks: open.blocks },
            arrivals,
        }
    }

    /// How many batches of `run` fit into one block; at least one.
    fn block_len(&self, run: &[usize]) -> usize {
        let mut bytes = 0;
        let fits = run.iter().take_while(|arrival| {
            bytes += self.added[**arrival].batch.bytes().len();
            bytes <= MAX_BLOCK
        });
        fits.count().max(1)
    }

    fn close_block(
        &self,
        arrivals: &[usize],
        layout: &mut Layout,
        body: &mut Vec<Bytes>,
        footer: &mut BytesMut,
    ) {
        let Some(first) = arrivals.first().map(|arrival| &self.added[*arrival]) else { return };
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        let mut batches = Vec::with_capacity(arrivals.len());
        let mut position = 0;
        for Added { batch, .. } in arrivals.iter().map(|arrival| &self.added[*arrival]) {
            let length = batch.bytes().len() as u32;
            digest.update(batch.bytes());
            body.push(batch.bytes().clone());
            batches.push(Batch {
                position,
                length,
                records: batch.records(),
                max_timestamp_ms: batch.max_timestamp_ms(),
                producer: batch.producer(),
            });
            position += length;
        }
        let block = Block {
            partition: first.partition,
            position: layout.position,
            length: position,
            crc: digest.finalize() as u32,
            append_time_ms: first.append_time_ms,
            batches,
        };
        layout.position += u64::from(block.length);
        put_entry(footer, &block);
        layout.blocks.push(block);
    }
}

/// What has been laid out so far.
struct Layout {
    position: u64,
    blocks: Vec<Block>,
}

fn header(name: &SegmentName) -> Bytes {
    let mut header = BytesMut::with_capacity(HEADER);
    header.put_slice(&MAGIC);
    header.put_u32(VERSION);
    header.put_u128(name.id.0.into());
    header.freeze()
}

fn places(footer_position: u64, footer_length: u32) -> [u8; 12] {
    let mut places = [0; 12];
    places[..8].copy_from_slice(&footer_position.to_be_bytes());
    places[8..].copy_from_slice(&footer_length.to_be_bytes());
    places
}

fn put_entry(footer: &mut BytesMut, block: &Block) {
    footer.reserve(ENTRY);
    footer.put_slice(block.partition.topic.0.as_bytes());
    footer.put_i32(block.partition.partition);
    footer.put_u64(block.position);
    footer.put_u32(block.length);
    footer.put_u64(block.batches.iter().map(|batch| batch.records as u64).sum());
    footer.put_i64(block.batches.iter().map(|b| b.max_timestamp_ms).max().unwrap_or(i64::MIN));
    footer.put_i64(block.append_time_ms);
    footer.put_u32(block.crc);
}
