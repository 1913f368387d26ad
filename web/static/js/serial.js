// <ashlar-serial url="wss://…">: a machine's serial line, by xterm.js.
//
// The bytes of the line are the WebSocket's binary messages, both ways; the
// appliance sends the line's history first. Says what happens with the event
// "state" (detail.state: connecting, connected, lost). Connecting again is the
// console's decision: it changes the attribute `try`. Methods: send(text),
// clear(), text(), focus().
import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";

// xterm.js writes its rules into <style> elements, which the content security
// policy forbids. The same rules are allowed as constructed style sheets: while
// the terminal opens, each <style> it makes is given a sheet that follows it.
function withSheets(open) {
  const make = document.createElement;
  document.createElement = function (name, options) {
    if (String(name).toLowerCase() !== "style") return make.call(document, name, options);
    // Even an empty <style> is reported as a breach of the policy; a template shows nothing either.
    const element = make.call(document, "template");
    const sheet = new CSSStyleSheet();
    document.adoptedStyleSheets.push(sheet);
    Object.defineProperty(element, "textContent", {
      configurable: true,
      get: () => "",
      set: (rules) => sheet.replaceSync(rules),
    });
    element.remove = () => {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
      Element.prototype.remove.call(element);
    };
    return element;
  };
  try {
    open();
  } finally {
    delete document.createElement;
  }
}

const THEME = {
  background: "#0a0d0f",
  foreground: "#c3ccd3",
  cursor: "#4cc2bd",
  cursorAccent: "#0a0d0f",
  selectionBackground: "#2c4a52",
  black: "#1c2125",
  brightBlack: "#67727b",
  red: "#f2857c",
  brightRed: "#ffa79f",
  green: "#56c586",
  brightGreen: "#83dba7",
  yellow: "#e5ae45",
  brightYellow: "#f3c979",
  blue: "#78b0ea",
  brightBlue: "#a3cbf5",
  magenta: "#b59bea",
  brightMagenta: "#cfbdf3",
  cyan: "#4cc2bd",
  brightCyan: "#86dcd8",
  white: "#c3ccd3",
  brightWhite: "#f4f6f7",
};

class Serial extends HTMLElement {
  static observedAttributes = ["try"];
  #terminal = null;
  #fit = null;
  #socket = null;
  #resize = new ResizeObserver(() => this.#fit?.fit());
  #bytes = new TextEncoder();

  connectedCallback() {
    if (!this.#terminal) {
      this.#terminal = new Terminal({
        fontFamily: getComputedStyle(this).getPropertyValue("--mono") || "monospace",
        fontSize: 14,
        cursorBlink: true,
        scrollback: 10000,
        screenReaderMode: false,
        theme: THEME,
      });
      this.#fit = new FitAddon();
      this.#terminal.loadAddon(this.#fit);
      withSheets(() => this.#terminal.open(this));
      this.#terminal.onData((text) => this.send(text));
      this.#terminal.onBinary((text) => {
        if (this.#socket?.readyState === WebSocket.OPEN) {
          this.#socket.send(Uint8Array.from(text, (character) => character.charCodeAt(0)));
        }
      });
    }
    this.#resize.observe(this);
    this.#fit.fit();
    this.#open();
  }

  disconnectedCallback() {
    this.#resize.disconnect();
    this.#close();
    this.#terminal?.dispose();
    this.#terminal = null;
  }

  attributeChangedCallback() {
    if (this.isConnected && this.#terminal) this.#open();
  }

  #say(state) {
    this.dispatchEvent(new CustomEvent("state", { detail: { state } }));
  }

  #close() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #open() {
    this.#close();
    const url = this.getAttribute("url");
    if (!url) return;
    this.#say("connecting");
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.addEventListener("open", () => {
      if (this.#socket !== socket) return;
      // The history comes again with each connection.
      this.#terminal?.reset();
      this.#say("connected");
      this.focus();
    });
    socket.addEventListener("message", (event) => {
      if (this.#socket !== socket) return;
      const { data } = event;
      this.#terminal?.write(typeof data === "string" ? data : new Uint8Array(data));
    });
    socket.addEventListener("close", () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#say("lost");
    });
  }

  focus() {
    this.#terminal?.focus();
  }

  send(text) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(this.#bytes.encode(text));
  }

  clear() {
    this.#terminal?.clear();
  }

  // All that is in the terminal, for saving to a file and for tests.
  text() {
    const lines = [];
    const buffer = this.#terminal?.buffer.active;
    for (let n = 0; buffer && n < buffer.length; n += 1) {
      lines.push(buffer.getLine(n)?.translateToString(true) ?? "");
    }
    return lines.join("\n").trimEnd();
  }
}

customElements.define("ashlar-serial", Serial);
