// <ashlar-chart>: live lines over time, drawn by uPlot.
//
// Properties, set from Rust before or after this module has loaded:
//   series  [{ label, color: "--c1", unit: "share" | "rate", fill }]
//   data    [seconds[], values[], values[], …]
//   zone    the time zone times are shown in
// Colours are names of CSS variables, so a change of theme only redraws.
import uPlot from "uplot";

// Seconds shown while there is no value, and at least: around a single value uPlot shows years.
const EMPTY = 3600;
const LEAST = 120;
// Steps of the time axis: labels tell minutes, so that a shorter step would show one twice.
const MINUTE = 60;
const DAY = 86400;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720].map((minutes) => minutes * MINUTE);
const DAYS = [1, 2, 7, 14, 28].map((days) => days * DAY);
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

function amount(value) {
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${Number(value.toFixed(digits))} ${UNITS[unit]}`;
}

const WRITE = {
  share: (value) => `${Math.round(value * 100)} %`,
  rate: (value) => `${amount(value)}/s`,
};

// Steps of 1024 read well for amounts; uPlot's own are decimal.
function binarySteps() {
  const steps = [];
  for (let power = 0; power < 6; power += 1) {
    for (const n of [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]) steps.push(n * 1024 ** power);
  }
  return steps;
}

class Chart extends HTMLElement {
  #plot = null;
  #series = [];
  #data = [];
  #zone = undefined;
  #resize = new ResizeObserver(() => this.#fit());
  #theme = new MutationObserver(() => this.#draw());
  #wish = matchMedia("(prefers-color-scheme: dark)");
  #again = () => this.#draw();

  connectedCallback() {
    for (const name of ["series", "data", "zone"]) {
      if (Object.hasOwn(this, name)) {
        const value = this[name];
        delete this[name];
        this[name] = value;
      }
    }
    this.#resize.observe(this);
    this.#theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    this.#wish.addEventListener("change", this.#again);
    this.#draw();
  }

  disconnectedCallback() {
    this.#resize.disconnect();
    this.#theme.disconnect();
    this.#wish.removeEventListener("change", this.#again);
    this.#plot?.destroy();
    this.#plot = null;
  }

  set series(series) {
    this.#series = series ?? [];
    this.#draw();
  }

  get series() {
    return this.#series;
  }

  set zone(zone) {
    this.#zone = zone || undefined;
    this.#draw();
  }

  get zone() {
    return this.#zone;
  }

  set data(data) {
    this.#data = data ?? [];
    if (this.#plot && this.#data.length === this.#series.length + 1) {
      this.#plot.setData(this.#values());
    } else {
      this.#draw();
    }
  }

  get data() {
    return this.#data;
  }

  #fit() {
    if (this.#plot) {
      this.#plot.setSize({ width: this.clientWidth, height: this.clientHeight });
    } else {
      this.#draw();
    }
  }

  #times() {
    const zone = this.#zone;
    const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: zone });
    const precise = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: zone });
    const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: zone });
    return {
      axis: (seconds, span) => (span > 2 * DAY ? day : clock).format(seconds * 1000),
      point: (seconds) => precise.format(seconds * 1000),
    };
  }

  // Before the first value there is the time itself: without any, uPlot draws no axis and cuts the lowest label.
  #values() {
    if (this.#data[0].length > 0) return this.#data;
    const now = Date.now() / 1000;
    return [[now - EMPTY, now], ...this.#series.map(() => [null, null])];
  }

  #draw() {
    if (!this.isConnected || this.clientWidth === 0) return;
    if (this.#series.length === 0 || this.#data.length !== this.#series.length + 1) return;
    const style = getComputedStyle(this);
    const color = (name) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const probe = document.createElement("i");
    // Without this a style sheet's transition would show the colour before.
    probe.style.transition = "none";
    this.append(probe);
    const line = color("--line");
    const ink = color("--ink-3");
    const colors = this.#series.map((one) => color(one.color));
    const grounds = this.#series.map((one) => {
      probe.style.color = `color-mix(in srgb, var(${one.color}) 14%, transparent)`;
      return getComputedStyle(probe).color;
    });
    probe.remove();

    const unit = this.#series[0].unit;
    const write = WRITE[unit] ?? String;
    const times = this.#times();
    const font = `12px ${style.fontFamily}`;
    const options = {
      width: this.clientWidth,
      height: this.clientHeight,
      // Half of a time's label goes beyond the last value.
      padding: [10, 20, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: { size: 7 },
      },
      scales: {
        x: { time: true, range: (_plot, first, last) => [Math.min(first, last - LEAST), last] },
        y: { range: (_plot, _low, high) => (unit === "share" ? [0, Math.max(0.1, Math.min(1, Math.ceil(high * 11) / 10))] : [0, Math.max(high * 1.15, 1024)]) },
      },
      axes: [
        {
          stroke: ink,
          font,
          grid: { show: false },
          ticks: { show: false },
          space: 90,
          incrs: [...STEPS, ...DAYS],
          values: (_plot, splits) => {
            const span = splits.length > 1 ? splits[splits.length - 1] - splits[0] : 0;
            return splits.map((seconds) => times.axis(seconds, span));
          },
        },
        {
          stroke: ink,
          font,
          size: unit === "share" ? 44 : 74,
          space: 44,
          incrs: unit === "share" ? [0.05, 0.1, 0.2, 0.25, 0.5] : binarySteps(),
          grid: { stroke: line, width: 1 },
          ticks: { show: false },
          values: (_plot, splits) => splits.map(write),
        },
      ],
      series: [
        {},
        ...this.#series.map((one, index) => ({
          label: one.label,
          stroke: colors[index],
          width: 1.7,
          fill: one.fill ? grounds[index] : undefined,
          // A line of one value is seen as a point.
          points: { show: (plot) => plot.data[0].length === 1, size: 5 },
          spanGaps: false,
        })),
      ],
      hooks: { setCursor: [(plot) => this.#point(plot, times)] },
    };
    this.#plot?.destroy();
    this.#plot = new uPlot(options, this.#values(), this);
  }

  // The values under the pointer, in a small box that stays inside the chart.
  #point(plot, times) {
    const { idx, left } = plot.cursor;
    let box = this.querySelector(".chart-point");
    if (idx == null || left == null || left < 0) {
      box?.remove();
      return;
    }
    if (!box) {
      box = document.createElement("div");
      box.className = "chart-point";
      this.append(box);
    }
    const rows = this.#series.map((one, index) => {
      const value = plot.data[index + 1][idx];
      const row = document.createElement("div");
      const mark = document.createElement("i");
      mark.style.background = `var(${one.color})`;
      const number = document.createElement("b");
      number.textContent = value == null ? "–" : (WRITE[one.unit] ?? String)(value);
      row.append(mark, one.label, number);
      return row;
    });
    const head = document.createElement("time");
    head.textContent = times.point(plot.data[0][idx]);
    box.replaceChildren(head, ...rows);
    const x = plot.bbox.left / devicePixelRatio + left;
    const flip = x > this.clientWidth - box.offsetWidth - 24;
    box.style.transform = `translate(${flip ? x - box.offsetWidth - 12 : x + 12}px, 12px)`;
  }
}

customElements.define("ashlar-chart", Chart);
