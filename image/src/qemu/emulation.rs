//! What a node needs where QEMU emulates its processors: two ways round faults of QEMU, so that guests under KVM in it do
//! not end the node. Both were found in 10.0 and are in 11.1 as well.
//!
//! **The first processor.** Whenever any processor loads the state of its FPU (FXRSTOR, at every switch of tasks), QEMU
//! clears IGNNE# of the *first* one (`cpu_set_fpus`), by reading and writing a word (`hflags2`) that belongs to another
//! thread. In the same word the first processor keeps its global interrupt flag and whether nested paging is on. Where it
//! enters or leaves a guest at that moment, what it wrote is lost: either its interrupts stay off for ever and the node
//! stands still; or, back in the host, the host's page tables are walked through the guest's, the host's registers are
//! saved as the guest's, and the node's kernel ends over a corrupted stack. On two loaded cores, two guests were enough
//! for one of these within minutes. So the node gets a processor more, and its kernel keeps every task off the first: no
//! guest runs there, and nothing else in that word matters.
//!
//! **Firmware's timer.** OVMF restores CR8 when it returns from a timer interrupt. While KVM waits to deliver another
//! interrupt, emulated SVM raises it at that write without the lock this needs, and QEMU aborts: `tcg_handle_interrupt:
//! assertion failed` of 7.2 and 10.0, `cpu_interrupt: assertion failed` of 11.1 (`helper_write_crN`). With the usual tick
//! of 10 ms the next interrupt is often waiting, because emulated handlers take that long: of two guests none got through
//! its firmware. A tick a second makes that rare, not impossible. Neither firmware nor Linux wait for these ticks: a guest
//! came to its kernel, and through the kernel's start, in the same time with one of 100 ms.

use super::Accelerator;

const NO_TASK_ON_THE_FIRST: &str = "isolcpus=0";
const CALM_TIMER: &str = "kvm.min_timer_period_us=1000000";

/// How many processors QEMU makes for a machine that shall have this many for its tasks. A machine of one has none that
/// could write into the first one's word.
pub fn processors(accelerator: Accelerator, cpus: u32) -> u32 {
    cpus + u32::from(has_spare(accelerator, cpus))
}

/// Words for the kernel's command line.
pub fn kernel_words(accelerator: Accelerator, cpus: u32) -> Vec<&'static str> {
    let mut words = Vec::new();
    if accelerator == Accelerator::Tcg {
        words.push(CALM_TIMER);
    }
    if has_spare(accelerator, cpus) {
        words.push(NO_TASK_ON_THE_FIRST);
    }
    words
}

fn has_spare(accelerator: Accelerator, cpus: u32) -> bool {
    accelerator == Accelerator::Tcg && cpus > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_emulated_machines_of_several_processors_get_one_more() {
        let smp = |accelerator| [1, 2, 4].map(|cpus| processors(accelerator, cpus));
        assert_eq!(smp(Accelerator::Kvm), [1, 2, 4]);
        assert_eq!(smp(Accelerator::Tcg), [1, 3, 5]);
        assert!(kernel_words(Accelerator::Kvm, 4).is_empty());
        assert_eq!(kernel_words(Accelerator::Tcg, 1), [CALM_TIMER]);
        assert_eq!(
            kernel_words(Accelerator::Tcg, 2),
            [CALM_TIMER, NO_TASK_ON_THE_FIRST]
        );
    }
}
