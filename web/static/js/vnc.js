// <ashlar-vnc url="wss://…">: a machine's screen, by noVNC.
//
// Says what happens with the event "state" (detail.state: connecting,
// connected, lost, refused). Connecting again is the console's decision: it
// changes the attribute `try`. Methods: ctrlAltDel(), type(text), focus().
import RFB from "@novnc/novnc";

const SHIFT = 0xffe1;
const RETURN = 0xff0d;
const TAB = 0xff09;

class Vnc extends HTMLElement {
  static observedAttributes = ["try"];
  #rfb = null;

  connectedCallback() {
    this.#open();
  }

  disconnectedCallback() {
    this.#close();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#open();
  }

  #say(state) {
    this.dispatchEvent(new CustomEvent("state", { detail: { state } }));
  }

  #close() {
    const rfb = this.#rfb;
    this.#rfb = null;
    rfb?.disconnect();
  }

  #open() {
    this.#close();
    const url = this.getAttribute("url");
    if (!url) return;
    this.#say("connecting");
    const rfb = new RFB(this, url, { shared: true });
    this.#rfb = rfb;
    rfb.scaleViewport = true;
    rfb.resizeSession = false;
    rfb.focusOnClick = true;
    rfb.background = "transparent";
    rfb.addEventListener("connect", () => {
      if (this.#rfb !== rfb) return;
      this.#say("connected");
      rfb.focus({ preventScroll: true });
    });
    rfb.addEventListener("disconnect", () => {
      if (this.#rfb !== rfb) return;
      this.#rfb = null;
      this.#say("lost");
    });
    rfb.addEventListener("securityfailure", () => {
      if (this.#rfb === rfb) this.#say("refused");
    });
    rfb.addEventListener("clipboard", (event) => {
      this.dispatchEvent(new CustomEvent("copied", { detail: { text: event.detail.text } }));
    });
  }

  focus(options) {
    this.#rfb?.focus(options);
  }

  ctrlAltDel() {
    this.#rfb?.sendCtrlAltDel();
    this.#rfb?.focus();
  }

  // Types text as keystrokes, for guests without a shared clipboard.
  async type(text) {
    for (const character of text) {
      const rfb = this.#rfb;
      if (!rfb) return;
      const point = character.codePointAt(0);
      const key = character === "\n" ? RETURN : character === "\t" ? TAB : point < 0x100 ? point : 0x01000000 + point;
      const shift = character !== character.toLowerCase() || '~!@#$%^&*()_+{}|:"<>?'.includes(character);
      if (shift) rfb.sendKey(SHIFT, "ShiftLeft", true);
      rfb.sendKey(key, null);
      if (shift) rfb.sendKey(SHIFT, "ShiftLeft", false);
      await new Promise((resolve) => setTimeout(resolve, 8));
    }
    this.#rfb?.focus();
  }
}

customElements.define("ashlar-vnc", Vnc);
