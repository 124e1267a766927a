// The page's own script: filters, the plot (drawn by Plotly), the table, and the page of a trial.
// All that comes from records enters the document as text, never as HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const rows = data.rows;
  const count = rows.trial.length;
  const byId = (id) => document.getElementById(id);
  const text = (column, row) => data.texts[rows[column][row]];
  const PAGE = 50;
  const MOST_POINTS = 1500; // SVG points; more would be slow to draw

  // ---- how values are written
  const fixed = (digits, unit = "") => (value) => (value === null ? "" : value.toFixed(digits) + unit);
  const percent = (digits) => (value) => (value === null ? "" : (100 * value).toFixed(digits));
  const bytes = (value) => {
    for (const [size, unit] of [[1e6, "MB"], [1e3, "kB"]]) {
      if (value >= size) return `${+(value / size).toPrecision(3)} ${unit}`;
    }
    return `${value} bytes`;
  };
  const whole = (value) => (value === null ? "" : value.toLocaleString("en"));
  // Points and their 95 % interval, where it is known.
  const lost = (name) => (value, row) => fixed(digits)(value) + (rows[`${name}_low`][row] === null ? ""
    : ` (${rows[`${name}_low`][row].toFixed(digits - 1)} to ${rows[`${name}_high`][row].toFixed(digits - 1)})`);
  // Of other tasks the primary metric, with the sign by which more is better, in its own unit.
  const shares = data.workloads.every((of) => of.unit === "%");
  const [unit, pointsOf, digits] = shares ? [" %", "points ", 2] : ["", "", 4];
  // A column of the table: heading, field, and for numbers how they are written.
  const ALL_COLUMNS = [
    ["method", "method"], ["wavelet", "wavelet"], ["level", "level"], ["rule", "threshold.rule"],
    ["pruned %", "threshold.percentile", fixed(1)], ["retrain", "retrain.name"], ["quantiser", "quantize.name"],
    ["bits", "quantize.bits", whole], ["seed", "seed", whole],
    [`validation${unit}`, "validation_accuracy", percent(digits)], [`${pointsOf}lost`, "accuracy_drop", lost("accuracy_drop")],
    [`test${unit}`, "test_accuracy", percent(digits)], [`test ${pointsOf}lost`, "test_accuracy_drop", lost("test_accuracy_drop")], ["bytes", "stored_bytes", whole],
    ["× smaller", "compression_ratio", fixed(1)], ["zero coef. %", "coefficient_sparsity", percent(2)],
    ["zero weights %", "weight_sparsity", percent(2)], ["ms", "inference_single_ms", fixed(3)],
  ];
  const isText = new Set(data.textColumns);
  // A setting that is the same everywhere takes no room.
  const COLUMNS = ALL_COLUMNS.filter(([, name]) =>
    !["level", "threshold.rule", "retrain.name", "quantize.name", "quantize.bits", "seed"].includes(name) ||
    rows[name].some((value) => value !== rows[name][0]));
  const cell = ([, name, write], row) => (isText.has(name) ? text(name, row) : write(rows[name][row], row));

  const element = (tag, content = "", properties = {}) =>
    Object.assign(document.createElement(tag), { textContent: content }, properties);
  // The first `left` cells are texts; the others stand at the right, as numbers do.
  const tableRow = (values, left = values.length, tag = "td") => {
    const tr = element("tr");
    tr.append(...values.map((value, place) => element(tag, String(value), { className: place < left ? "" : "number" })));
    return tr;
  };
  // Plotly reads a little HTML in labels.
  const escaped = (value) => String(value).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  // ---- filters
  const different = (values) => [...new Set(values)];
  function offer(id, options, every) {
    const chosen = byId(id).value;
    byId(id).replaceChildren(...(every ? [element("option", every, { value: "" })] : []),
      ...options.map((option) => element("option", option, { value: option })));
    if (options.includes(chosen)) byId(id).value = chosen;
  }
  function workload() {
    return data.workloads.findIndex((one) => one.model === byId("model").value && one.dataset === byId("dataset").value);
  }
  function offerOptions() {
    offer("model", different(data.workloads.map((one) => one.model)));
    offer("dataset", data.workloads.filter((one) => one.model === byId("model").value).map((one) => one.dataset));
    const of = [...Array(count).keys()].filter((row) => rows.workload[row] === workload());
    const natural = (a, b) => a.localeCompare(b, "en", { numeric: true });
    offer("method", different(of.map((row) => text("method", row))), "all");
    offer("wavelet", different(of.map((row) => text("wavelet", row))).filter(Boolean).sort(natural), "all");
    byId("points").disabled = data.workloads[workload()].seeds < 2;
  }
  function filtered() {
    const [of, method, wavelet] = [workload(), byId("method").value, byId("wavelet").value];
    const found = [];
    for (let row = 0; row < count; row++) {
      if (rows.workload[row] !== of || (method && text("method", row) !== method)) continue;
      const its = text("wavelet", row);
      if (wavelet && its && its !== wavelet) continue;
      found.push(row);
    }
    return found;
  }

  // ---- the plot
  const COSTS = {
    stored_bytes: { title: "stored bytes of the whole model", type: "log", less: true, write: bytes },
    compression_ratio: { title: "compression ratio (float32 bytes over stored bytes)", type: "log", less: false, write: (value) => `${+value.toPrecision(3)}×` },
    coefficient_sparsity: { title: "coefficients that are zero (%)", type: "linear", less: false, scale: 100, write: fixed(2, " %") },
  };
  function describe(row) {
    const parts = [text("method", row)];
    if (text("wavelet", row)) parts.push(`${text("wavelet", row)} level ${text("level", row)}`);
    const rule = text("threshold.rule", row);
    parts.push(rule === "percentile" ? `${rows["threshold.percentile"][row]} % pruned` : rule);
    if (text("retrain.name", row) !== "none") parts.push(`retrain ${text("retrain.name", row)}`);
    const quantizer = text("quantize.name", row);
    const step = rows["quantize.step"][row];
    const finely = step === null ? `${rows["quantize.bits"][row]} bits` : `step ${step}`;
    parts.push(quantizer === "none" ? "not quantised" : `${quantizer}, ${finely}`);
    return parts.join(", ");
  }
  function points(shown, cost) {
    const groups = new Map();
    const apart = byId("points").value === "singles";
    for (const row of shown) {
      const id = apart ? row : rows.setting[row];
      if (!groups.has(id)) groups.set(id, []);
      groups.get(id).push(row);
    }
    const scale = COSTS[cost].scale ?? 1;
    return [...groups.values()].map((of) => ({
      of, row: of[0], method: text("method", of[0]),
      x: scale * mean(of.map((row) => rows[cost][row])),
      y: 100 * mean(of.map((row) => rows.validation_accuracy[row])),
      test: 100 * mean(of.map((row) => rows.test_accuracy[row])),
      size: mean(of.map((row) => rows.stored_bytes[row])),
    }));
  }
  function frontOf(all, less) {
    const sorted = [...all].sort((a, b) => (less ? a.x - b.x : b.x - a.x) || b.y - a.y);
    let best = -Infinity;
    return sorted.filter((point) => point.y > best && ((best = point.y), true));
  }
  const shownQuality = (value, of = data.workloads[workload()]) =>
    `${of.unit === "%" ? value.toFixed(2) : +value.toPrecision(4)} ${escaped(of.unit)}`.trim();
  function hover(point, cost) {
    const seeds = point.of.length > 1 ? `mean of ${point.of.length} seeds` : `seed ${rows.seed[point.row]}`;
    const lines = [`<b>${escaped(describe(point.row))}</b>`,
      `validation ${shownQuality(point.y)}, test ${shownQuality(point.test)}`, bytes(Math.round(point.size))];
    if (cost !== "stored_bytes") lines.push(COSTS[cost].write(point.x));
    return [...lines, seeds].join("<br>");
  }
  // Ticks of a logarithmic axis at 1, 2 and 5 times the powers of ten, written with their units.
  function logTicks(values, write) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      ticks.push(...(high / low < 12 ? [1, 1.5, 2, 3, 5, 7] : [1, 2, 5]).map((step) => step * 10 ** power));
    }
    return { tickmode: "array", tickvals: ticks, ticktext: ticks.map(write) };
  }
  function drawPlot(shown) {
    const cost = byId("cost").value;
    const { title, type, less, write } = COSTS[cost];
    const all = points(shown, cost);
    const front = frontOf(all, less);
    // The front is always drawn; of the others every n-th, where there are too many for SVG.
    const onFront = new Set(front);
    const others = all.filter((point) => !onFront.has(point));
    const every = Math.ceil(others.length / MOST_POINTS);
    const drawn = [...front, ...others.filter((_, number) => number % Math.max(every, 1) === 0)];
    const of = data.workloads[workload()];
    const traces = different(drawn.map((point) => point.method)).map((method) => {
      const its = drawn.filter((point) => point.method === method);
      const look = data.looks[method];
      return {
        type: "scatter", mode: "markers", name: escaped(method), x: its.map((p) => p.x), y: its.map((p) => p.y),
        text: its.map((p) => hover(p, cost)), hovertemplate: "%{text}<extra></extra>",
        customdata: its.map((p) => rows.trial[p.row]),
        marker: { color: look.color, symbol: look.symbol, size: 8, opacity: 0.65, line: { width: 0.5, color: "#fff" } },
      };
    });
    traces.push({
      type: "scatter", mode: "lines", name: "front", x: front.map((p) => p.x), y: front.map((p) => p.y), hoverinfo: "skip",
      line: { color: "#222", width: 1.2, shape: "hv" },
    });
    const layout = {
      margin: { l: 60, r: 20, t: 10, b: 50 }, hovermode: "closest", dragmode: "zoom", font: { size: 12 },
      xaxis: { title: { text: title }, type, gridcolor: "#eee", zeroline: false,
        ...(type === "log" && drawn.length ? logTicks(drawn.map((p) => p.x), write) : {}) },
      yaxis: { title: { text: escaped(of.axis) }, gridcolor: "#eee", zeroline: false },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
      shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 100 * of.baseline, y1: 100 * of.baseline, line: { dash: "dash", width: 1 } }],
      annotations: [{ xref: "paper", x: less ? 0 : 1, y: 100 * of.baseline, yanchor: "bottom", xanchor: less ? "left" : "right", showarrow: false,
        text: `baseline ${shownQuality(100 * of.baseline, of)}`, font: { size: 11 } }],
    };
    const plot = byId("plot");
    Plotly.react(plot, traces, layout, { displaylogo: false, responsive: true, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] });
    if (!plot.dataset.ready) {
      plot.dataset.ready = "true";
      plot.on("plotly_click", (event) => {
        const trial = event.points[0].customdata;
        if (trial !== undefined) location.hash = `trial-${data.trials[trial].key}`;
      });
    }
    const what = byId("points").value === "means" && of.seeds > 1 ? "means over seeds of equal settings" : "single trials";
    byId("plot-note").textContent = `${drawn.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} points drawn ` +
      `(${what}, validation split)` + (every > 1 ? "; filter to see the others" : "") +
      ". The front is that of the points the filters leave. Hover for the setting, click for the trial.";
  }

  // ---- the table
  const sort = { column: COLUMNS.findIndex(([, name]) => name === "validation_accuracy"), descending: true };
  let shown = [];
  let page = 0;
  function sortShown() {
    const [, name] = COLUMNS[sort.column];
    const value = isText.has(name) ? (row) => text(name, row) : (row) => rows[name][row];
    const compare = isText.has(name) ? (a, b) => a.localeCompare(b, "en", { numeric: true }) : (a, b) => a - b;
    const sign = sort.descending ? -1 : 1;
    // Missing values come last whatever the direction.
    shown.sort((a, b) => {
      const [first, second] = [value(a), value(b)];
      const missing = (v) => v === null || v === "";
      return missing(first) - missing(second) || sign * compare(first, second) || a - b;
    });
  }
  function drawTable() {
    const head = element("tr");
    COLUMNS.forEach(([title, name], number) => {
      const th = element("th", "", { scope: "col", className: isText.has(name) ? "" : "number" });
      const button = element("button", title, { type: "button" });
      if (number === sort.column) th.ariaSort = sort.descending ? "descending" : "ascending";
      button.addEventListener("click", () => {
        sort.descending = sort.column === number ? !sort.descending : !isText.has(name);
        sort.column = number;
        page = 0;
        sortShown();
        drawTable();
      });
      th.append(button);
      head.append(th);
    });
    byId("table").tHead.replaceChildren(head);
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    byId("table").tBodies[0].replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map((row) => {
      const tr = element("tr", "", { tabIndex: 0 });
      tr.append(...COLUMNS.map((column) => element("td", cell(column, row), { className: isText.has(column[1]) ? "" : "number" })));
      const open = () => (location.hash = `trial-${data.trials[rows.trial[row]].key}`);
      tr.addEventListener("click", open);
      tr.addEventListener("keydown", (event) => event.key === "Enter" && open());
      return tr;
    }));
    byId("page").textContent = `${shown.length.toLocaleString("en")} rows, page ${page + 1} of ${pages}`;
    byId("previous").disabled = page === 0;
    byId("next").disabled = page + 1 >= pages;
  }
  const turn = (by) => () => { page += by; drawTable(); };

  // ---- the page of a trial
  const RESULTS = COLUMNS.filter(([, name]) => !isText.has(name) && !["threshold.percentile", "quantize.bits", "seed"].includes(name));
  function layersTable(row) {
    const table = element("table");
    const layers = data.layers;
    table.append(tableRow(["tensor", "shape", "wavelet, levels", "coefficients", "kept", "nonzero", "zero weights %", "relative error"], 3, "th"));
    for (let at = layers.start[row]; at < layers.start[row + 1]; at++) {
      table.append(tableRow([data.texts[layers.name[at]], data.texts[layers.shape[at]], data.texts[layers.levels[at]],
        whole(layers.coefficients[at]), whole(layers.kept[at]), whole(layers.nonzero[at]), percent(2)(layers.zeros[at]),
        fixed(4)(layers.error[at])], 3));
    }
    return table;
  }
  function showTrial(key) {
    const trial = data.trials.find((one) => one.key === key);
    if (!trial) return;
    const of = data.workloads[trial.workload];
    const main = trial.arms[0];
    byId("trial-title").textContent = `${of.model} on ${of.dataset}: ${describe(main)}`;
    const others = [];
    for (let row = 0; row < count; row++) {
      if (rows.workload[row] === trial.workload && rows.setting[row] === rows.setting[main] && rows.trial[row] !== rows.trial[main]) others.push(row);
    }
    byId("trial-seeds").replaceChildren(`Trial ${key}, seed ${rows.seed[main]}. `, ...(others.length ? ["Other seeds: "] : []),
      ...others.flatMap((row) => [element("a", String(rows.seed[row]), { href: `#trial-${data.trials[rows.trial[row]].key}` }), " "]));
    byId("trial-command").textContent = trial.command;
    byId("trial-arms").replaceChildren(tableRow(["method", ...RESULTS.map(([title]) => title)], 1, "th"),
      tableRow(["(before)", (100 * trial.before[0]).toFixed(2), "", (100 * trial.before[1]).toFixed(2), "", whole(trial.before[2]), "1.0",
        ...RESULTS.slice(6).map(() => "")], 1),
      ...trial.arms.map((row) => tableRow([text("method", row), ...RESULTS.map((column) => cell(column, row))], 1)));
    byId("trial-notes").replaceChildren(...trial.notes.map((note) => element("li", note)));
    byId("trial-settings").replaceChildren(...Object.entries(trial.settings).map(([name, value]) => tableRow([name, String(value)])));
    byId("trial-layers").replaceChildren(...trial.arms.filter((row) => data.layers.start[row + 1] > data.layers.start[row])
      .flatMap((row) => [element("p", text("method", row), { className: "note" }), layersTable(row)]),
      ...(data.layersComplete ? [] : [element("p", "The layers of compared arms are in layers.csv beside the record.", { className: "note" })]));
    if (!byId("trial").open) byId("trial").showModal();
    byId("trial").scrollTop = 0;
  }
  const showHash = () => (location.hash.startsWith("#trial-") ? showTrial(location.hash.slice(7)) : byId("trial").close());

  // ---- what happens when
  function update() {
    offerOptions();
    shown = filtered();
    page = 0;
    drawPlot(shown);
    sortShown();
    drawTable();
  }
  byId("filters").addEventListener("change", update);
  byId("previous").addEventListener("click", turn(-1));
  byId("next").addEventListener("click", turn(1));
  byId("copy").addEventListener("click", () => {
    getSelection().selectAllChildren(byId("trial-command"));
    navigator.clipboard?.writeText(byId("trial-command").textContent).catch(() => {}); // else it is selected
  });
  byId("trial").addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
  addEventListener("hashchange", showHash);
  update();
  showHash();
})();
