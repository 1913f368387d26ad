//! What a node needs where QEMU emulates its processors: two ways round faults of QEMU, so that guests under KVM in it do
//! not end the node. Both were found in 10.0 and are in 11.1 as well.
//!
//! **One processor.** Whenever any processor loads the state of its FPU (FXRSTOR, at every switch of tasks), QEMU clears
//! IGNNE# of the *first* one (`cpu_set_fpus`), by reading and writing a word (`hflags2`) that belongs to another thread. In
//! the same word the first processor keeps its global interrupt flag and whether nested paging is on. Where it enters or
//! leaves a guest at that moment, what it wrote is lost: either its interrupts stay off for ever and the node stands still;
//! or, back in the host, the host's page tables are walked through the guest's, the host's registers are saved as the
//! guest's, and the node's kernel ends over a corrupted stack. On two loaded cores, two guests were enough for one of these
//! within minutes. A machine of one processor has nobody who writes there; its guests start as fast. (A processor more,
//! with the kernel's `isolcpus=0` to keep guests off the first, is a way round it, too. But of some sixty starts of three
//! processors two stood still: a timer interrupt was in service that its processor knew nothing of. Why is not known.)
//!
//! **Firmware's timer.** OVMF restores CR8 when it returns from a timer interrupt. While KVM waits to deliver another
//! interrupt, emulated SVM raises it at that write without the lock this needs, and QEMU aborts: `tcg_handle_interrupt:
//! assertion failed` of 7.2 and 10.0, `cpu_interrupt: assertion failed` of 11.1 (`helper_write_crN`). With the usual tick
//! of 10 ms the next interrupt is often waiting, because emulated handlers take that long: of two guests none got through
//! its firmware. A tick a second makes that rare, not impossible. Neither firmware nor Linux wait for these ticks: a guest
//! came to its kernel, and through the kernel's start, in the same time with one of 100 ms.

use super::Accelerator;

const CALM_TIMER: &str = "kvm.min_timer_period_us=1000000";

/// How many processors a machine may have whose guests shall run for long.
pub fn cpus_for_guests(accelerator: Accelerator) -> u32 {
    match accelerator {
        Accelerator::Kvm => 2,
        Accelerator::Tcg => 1,
    }
}

/// A word for the kernel's command line.
pub fn kernel_word(accelerator: Accelerator) -> Option<&'static str> {
    match accelerator {
        Accelerator::Kvm => None,
        Accelerator::Tcg => Some(CALM_TIMER),
    }
}
