//! Parallel work that is also done when a thread is refused: a limit on processes counts threads,
//! and `thread::spawn` panics when it is reached.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A piece of work.
pub type Task<'a, R> = Box<dyn FnOnce() -> R + Send + 'a>;

/// Runs all `tasks` in parallel and returns their results in the order of the tasks. If threads are
/// refused, the existing threads do the rest; the calling one always exists.
pub fn side_by_side<R: Send>(tasks: Vec<Task<'_, R>>) -> Vec<R> {
    with_threads(tasks, usize::MAX)
}

fn with_threads<R: Send>(tasks: Vec<Task<'_, R>>, threads_max: usize) -> Vec<R> {
    let count = tasks.len();
    let tasks: Vec<Mutex<Option<Task<'_, R>>>> = tasks
        .into_iter()
        .map(|task| Mutex::new(Some(task)))
        .collect();
    let results = Mutex::new(Vec::with_capacity(count));
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(index) else { return };
            let task = task.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(task) = task {
                let result = task();
                let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                results.push((index, result));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..count.min(threads_max) {
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn everything_is_done_with_however_few_threads() {
        for threads in [0, 1, 2, 50] {
            let tasks = (0..9).map(|number| Box::new(move || number * 2) as Task<'_, _>);
            let results = with_threads(tasks.collect(), threads);
            assert_eq!(results, [0, 2, 4, 6, 8, 10, 12, 14, 16], "{threads}");
        }
        assert_eq!(side_by_side(Vec::<Task<'_, u8>>::new()), [0_u8; 0]);
    }

    #[test]
    fn it_is_done_at_once() {
        let all = Barrier::new(3);
        let tasks = (0..3).map(|_| {
            Box::new(|| {
                all.wait();
            }) as Task<'_, _>
        });
        // Each task waits for all the others.
        assert_eq!(side_by_side(tasks.collect()).len(), 3);
    }
}
