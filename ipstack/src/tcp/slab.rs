//! Things by small number, with a generation so that a stale number finds nothing.

/// A place in a [`Slab`] and the life it had when this was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    item: Option<T>,
}

/// Things by small number. It grows to the most that ever lived at once; the callers bound that.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds what `make` makes of its future id.
    pub(crate) fn insert(&mut self, make: impl FnOnce(Id) -> T) -> Id {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                generation: 0,
                item: None,
            });
            // The callers' bounds are far below 2^32.
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let place = &mut self.places[index as usize];
        let id = Id {
            index,
            generation: place.generation,
        };
        place.item = Some(make(id));
        self.len += 1;
        id
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let place = self.places.get_mut(index as usize)?;
        let item = place.item.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
        self.len -= 1;
        Some(item)
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.places.get(index as usize)?.item.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.places.get_mut(index as usize)?.item.as_mut()
    }

    /// The item `id` was made for, if it still lives.
    #[inline]
    pub(crate) fn get_id(&mut self, id: Id) -> Option<&mut T> {
        let place = self.places.get_mut(id.index as usize)?;
        if place.generation != id.generation {
            return None;
        }
        place.item.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.places.iter().enumerate().filter_map(|(at, place)| {
            let index = u32::try_from(at).ok()?;
            Some((index, place.item.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert(|_| 'a');
        assert_eq!(slab.remove(first.index), Some('a'));
        let second = slab.insert(|_| 'b');
        assert_eq!(first.index, second.index);
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.get_id(first), None);
        assert_eq!(slab.get_id(second), Some(&mut 'b'));
        assert_eq!(slab.remove(7), None);
    }
}
