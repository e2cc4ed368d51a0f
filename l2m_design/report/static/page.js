// The page's figures: drawn by plotly from the JSON beside them, in the colours of the page, each with a key of its own.
(function () {
  "use strict";
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const drawn = new Map();
  const hidden = new Map(); // figure -> names that its key switched
  let alone = null; // the design that is shown alone
  const themed = () => {
    const style = getComputedStyle(root);
    return (value) => (typeof value === "string" && /^@[a-z]+$/.test(value) ? style.getPropertyValue("--" + value.slice(1)).trim() : value);
  };

  // every "@name" among colours becomes the page's; texts stay as they are
  function coloured(value, look) {
    if (Array.isArray(value)) return value.map((each) => coloured(each, look));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, key === "meta" || key === "text" ? each : coloured(each, look)]));
    }
    return look(value);
  }

  function thinned(axis, room) {
    if (!axis || !axis.tickvals) return axis;
    const step = Math.ceil(axis.tickvals.length / Math.max(2, Math.floor(room)));
    const kept = (_, index) => (axis.tickvals.length - 1 - index) % step === 0;
    return { ...axis, tickvals: axis.tickvals.filter(kept), ticktext: axis.ticktext.filter(kept) };
  }

  const titled = (axis) => (axis.title ? { ...axis, title: { standoff: 8, ...axis.title, font: { size: 13 } } } : axis);

  function layout(spec, width, look) {
    const line = look("@line");
    const axis = { tickfont: { size: 12 }, gridcolor: line, linecolor: look("@faint"), zerolinecolor: line, automargin: true, ticks: "outside", tickcolor: line };
    const own = coloured(spec, look);
    const most = Math.max(...(own.xaxis.ticktext || ["0"]).map((text) => text.length));
    return {
      height: width < 500 ? 340 : 420,
      ...own,
      width,
      margin: { l: 8, r: 14, t: 26, b: 8 },
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: look("@ink") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      showlegend: false,
      modebar: { bgcolor: "rgba(0,0,0,0)", color: look("@faint"), activecolor: look("@ink") },
      hovermode: own.hovermode || "closest",
      hoverdistance: 24,
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      hoverlabel: { align: "left", bgcolor: look("@paper"), bordercolor: look("@faint"), font: { color: look("@ink"), size: 13 } },
      xaxis: titled({ ...axis, ...thinned(own.xaxis, (width - 70) / (7.5 * most + 16)) }),
      yaxis: titled({ ...axis, ...own.yaxis }),
    };
  }

  function traces(name, look) {
    const own = hidden.get(name) || new Map();
    return figures[name].traces.map((trace) => {
      const made = coloured(trace, look);
      const meta = trace.meta || {};
      if (own.has(meta.name)) made.visible = own.get(meta.name) ? true : "legendonly";
      if (alone && meta.key !== false && meta.name !== "required by the data" && meta.design !== alone) made.opacity = 0.12;
      if (alone && meta.design === alone) made.visible = true;
      return made;
    });
  }

  // labels beside points, as near as no other label or point is in the way; one that finds no room is left to the pointer
  function labels(plot, spec, look) {
    const named = plot._fullData.filter((trace) => trace.visible === true && trace.meta && trace.meta.label);
    const full = plot._fullLayout;
    const size = full._size;
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = "12px " + full.font.family;
    const at = (trace) => [size.l + full.xaxis.d2p(trace.x[0]), size.t + full.yaxis.d2p(trace.y[0])];
    const taken = named.map((trace) => {
      const [x, y] = at(trace);
      const error = trace.error_y && trace.error_y.array ? [trace.error_y.array[0], trace.error_y.arrayminus[0]] : [0, 0];
      const top = size.t + full.yaxis.d2p(trace.y[0] + error[0]);
      const bottom = size.t + full.yaxis.d2p(trace.y[0] - error[1]);
      return [x - 7, Math.min(top, y - 7), x + 7, Math.max(bottom, y + 7)];
    });
    for (const trace of plot._fullData) {
      if (trace.visible !== true || !(trace.mode || "").includes("markers") || (trace.meta && trace.meta.label) || trace.yaxis === "y2") continue;
      trace.x.forEach((x, index) => {
        const [left, top] = [size.l + full.xaxis.d2p(x), size.t + full.yaxis.d2p(trace.y[index])];
        taken.push([left - 4, top - 4, left + 4, top + 4]);
      });
    }
    const found = [];
    for (const trace of named) {
      const [x, y] = at(trace);
      const text = trace.meta.label;
      const width = pen.measureText(text).width + 4;
      for (const [side, dy] of [[1, 0], [-1, 0], [1, -16], [-1, -16], [1, 16], [-1, 16], [0, -20], [0, 20], [1, -34], [-1, -34], [1, 34], [-1, 34], [1, -52], [-1, 52]]) {
        const left = side > 0 ? x + 10 : side < 0 ? x - 10 - width : x - width / 2;
        const box = [left, y + dy - 8, left + width, y + dy + 8];
        const inside = box[0] >= size.l && box[2] <= size.l + size.w + size.r && box[1] >= 0 && box[3] <= size.t + size.h;
        if (inside && !taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) {
          taken.push(box);
          found.push({
            xref: "paper", yref: "paper", xanchor: "left", yanchor: "middle", showarrow: false, text: trace.meta.shown, borderpad: 0, bgcolor: look("@paper"), opacity: 0.85,
            x: (left + 2 - size.l) / size.w, y: 1 - (y + dy - size.t) / size.h, font: { size: 12, color: look("@ink") }, captureevents: false,
          });
          break;
        }
      }
    }
    return [...(coloured(spec.annotations || [], look)), ...found];
  }

  function draw(plot) {
    const name = plot.dataset.figure;
    const look = themed();
    const spec = figures[name].layout;
    const config = { displaylogo: false, displayModeBar: matchMedia("(pointer: coarse)").matches ? false : "hover", modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };
    return Plotly.react(plot, traces(name, look), layout(spec, plot.clientWidth, look), config).then(() => {
      const annotations = labels(plot, spec, look);
      if (!drawn.has(plot)) listen(plot);
      drawn.set(plot, plot.clientWidth);
      return annotations.length ? Plotly.relayout(plot, { annotations }) : null;
    });
  }

  const signs = {
    circle: "M6 6a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z", "circle-open": "M6 6a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z", x: "M7 2L15 10M15 2L7 10",
    "triangle-down": "M5 2H17L11 11z", "line-ns-open": "M11 1V11", square: "M6 1H16V11H6z",
  };
  function sign(trace, look) {
    const box = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    box.setAttribute("width", "22");
    box.setAttribute("height", "12");
    const line = trace.line || {};
    const colour = look(line.color || (trace.marker && trace.marker.color) || "@faint");
    const single = Array.isArray(colour) ? look("@data") : colour;
    if ((trace.mode || "").includes("lines")) {
      const stroke = document.createElementNS(box.namespaceURI, "line");
      for (const [key, value] of Object.entries({ x1: 0, x2: 22, y1: 6, y2: 6, stroke: single, "stroke-width": 3 })) stroke.setAttribute(key, value);
      if (line.dash && line.dash !== "solid") stroke.setAttribute("stroke-dasharray", line.dash === "dash" ? "6 4" : "2 3");
      box.append(stroke);
    } else {
      const symbol = (trace.meta || {}).symbol || "circle";
      const mark = document.createElementNS(box.namespaceURI, "path");
      const open = symbol === "x" || symbol.endsWith("-open");
      for (const [key, value] of Object.entries({ d: signs[symbol], stroke: single, "stroke-width": open ? 2.5 : 0, fill: open ? "none" : single })) mark.setAttribute(key, value);
      box.append(mark);
    }
    return box;
  }

  function key(plot) {
    const name = plot.dataset.figure;
    const list = plot.parentElement.querySelector(".key");
    const look = themed();
    list.replaceChildren();
    const listed = new Set(); // traces of one name are switched together
    for (const trace of figures[name].traces) {
      const meta = trace.meta || {};
      if (meta.key === false || listed.has(meta.name)) continue;
      listed.add(meta.name);
      const shown = (hidden.get(name) || new Map()).get(meta.name) ?? trace.visible !== "legendonly";
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(shown));
      button.title = shown ? "Hide this in the figure" : "Show this in the figure";
      button.append(sign(trace, look), document.createTextNode(meta.name + (meta.stands ? " (" + meta.stands + ")" : "")));
      button.addEventListener("click", () => {
        if (!hidden.has(name)) hidden.set(name, new Map());
        hidden.get(name).set(meta.name, !shown);
        key(plot);
        draw(plot);
      });
      list.append(button);
    }
  }

  // plain text of a hover label made by our own `hover`: lines, then entities
  function lines(text) {
    const box = document.createElement("textarea"); // its content is text, never elements
    return text.replace(/<\/?b>/g, "").split("<br>").map((line) => {
      box.innerHTML = line;
      return box.value;
    });
  }

  function listen(plot) {
    plot.on("plotly_click", (event) => {
      const point = event.points[0];
      const card = plot.parentElement.querySelector(".card");
      card.textContent = point.text ? lines(point.text).join("\n") : "";
      const design = (point.data.meta || {}).design;
      if (design) focus(alone === design ? null : design);
    });
    key(plot);
    const saved = plot.parentElement.querySelector(".static svg");
    const caption = plot.parentElement.querySelector("figcaption");
    if (saved && caption) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "save";
      button.textContent = "Save as SVG";
      button.addEventListener("click", () => {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(saved)], { type: "image/svg+xml" }));
        link.download = plot.dataset.figure + ".svg";
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      });
      caption.append(" ", button);
    }
  }

  const pill = document.getElementById("alone");
  function focus(design) {
    alone = design;
    for (const row of document.querySelectorAll("tr[data-design]")) row.classList.toggle("focus", design !== null && row.dataset.design === design);
    const row = design && document.querySelector('tr[data-design="' + CSS.escape(design) + '"]');
    pill.hidden = design === null;
    pill.textContent = "Shown alone: " + (row ? row.dataset.title : design) + " · show all";
    for (const plot of drawn.keys()) draw(plot);
  }
  pill.addEventListener("click", () => focus(null));
  document.addEventListener("keydown", (event) => event.key === "Escape" && alone && focus(null));
  for (const row of document.querySelectorAll("tr[data-design]")) {
    row.addEventListener("click", () => String(getSelection()) || focus(alone === row.dataset.design ? null : row.dataset.design));
  }

  if (typeof Plotly === "undefined") return;
  root.classList.add("js");
  const plots = [...document.querySelectorAll(".plot")].filter((plot) => figures[plot.dataset.figure]);
  (async () => {
    for (const plot of plots) {
      await new Promise((next) => setTimeout(next)); // let the page answer between figures
      await draw(plot);
    }
    root.dataset.drawn = String(plots.length);
  })();
  let waiting = null;
  new ResizeObserver(() => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      for (const [plot, width] of drawn) if (plot.clientWidth && plot.clientWidth !== width) draw(plot);
    }, 150);
  }).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const plot of drawn.keys()) {
      draw(plot);
      key(plot);
    }
  });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
})();
