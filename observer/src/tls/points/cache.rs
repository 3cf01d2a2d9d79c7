//! What was found in files, so that none is searched twice: neither seen through another mount, nor a copy of it.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    sync::Arc,
};

use super::{BuildId, KeyPoints, Unknown, find};
use crate::elf::{Executable, Image};

/// Files that are remembered.
const MOST: usize = 512;
/// Bytes of a function's beginning that must be the same in a file that says it is the same.
const BEGINNING: u64 = 32;

/// What a search gave; shared by all who asked.
pub type Found = Result<Arc<KeyPoints>, Unknown>;

/// Key points by file, and by build id where the file is new.
#[derive(Default)]
pub struct Cache {
    files: HashMap<Executable, Found>,
    /// In the order they came.
    order: VecDeque<Executable>,
    linked: HashMap<BuildId, Linked>,
    linked_order: VecDeque<BuildId>,
    searches: u64,
}

/// What was found in a file of some build id.
struct Linked {
    points: Arc<KeyPoints>,
    /// How each of its functions begins.
    beginnings: Vec<Vec<u8>>,
}

impl Cache {
    /// The key points of a file, which is searched only if nothing is known of it. A file with a known build id must
    /// have the same bytes where the points are and where the labels stand: anybody may write a build id.
    ///
    /// # Errors
    /// Why it has none.
    pub fn find(&mut self, file: &File) -> Found {
        let Some(executable) = Executable::of(file) else {
            return Err(Unknown::NotElf);
        };
        if let Some(found) = self.files.get(&executable) {
            return found.clone();
        }
        let found = self.linked(file).map_or_else(|| self.search(file), Ok);
        if self.order.len() >= MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.files.remove(&oldest);
        }
        self.order.push_back(executable);
        self.files.insert(executable, found.clone());
        found
    }

    /// Files that were searched so far.
    pub fn searches(&self) -> u64 {
        self.searches
    }

    /// By the build id.
    fn linked(&self, file: &File) -> Option<Arc<KeyPoints>> {
        let image = Image::read(file)?;
        let linked = self.linked.get(&BuildId::of(&image)?)?;
        let points = &linked.points;
        let labels = points.labels.iter().all(|label| {
            let text = label.label.text().as_bytes();
            image.file_offset(label.address) == Some(label.offset)
                && image.part(label.offset, text.len() as u64).as_deref() == Some(text)
        });
        let same = labels
            && points
                .points
                .iter()
                .all(|point| image.code_offset(point.address) == Some(point.offset))
            && beginnings(&image, points).as_ref() == Some(&linked.beginnings);
        same.then(|| Arc::clone(points))
    }

    fn search(&mut self, file: &File) -> Found {
        self.searches += 1;
        let points = Arc::new(find(file)?);
        if let Some(id) = &points.build_id
            && let Some(beginnings) =
                Image::read(file).and_then(|image| beginnings(&image, &points))
        {
            let linked = Linked {
                points: Arc::clone(&points),
                beginnings,
            };
            // Another file said that it has this id.
            if self.linked.insert(id.clone(), linked).is_none() {
                self.linked_order.push_back(id.clone());
            }
            if self.linked_order.len() > MOST
                && let Some(oldest) = self.linked_order.pop_front()
            {
                self.linked.remove(&oldest);
            }
        }
        Ok(points)
    }
}

fn beginnings(image: &Image<'_>, points: &KeyPoints) -> Option<Vec<Vec<u8>>> {
    let points = points.points.iter();
    points
        .map(|point| image.part(point.offset, BEGINNING))
        .collect()
}
