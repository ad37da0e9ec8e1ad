// Small charts in SVG: a line over time, and columns.
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 120;
const HEIGHT = 32;

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function chart(label) {
  return element("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": label,
  });
}

/** A line of values, the newest at the right; `places` are the values that fit. */
export function sparkline(values, places, label) {
  const made = chart(label);
  const most = Math.max(...values, 1);
  const step = WIDTH / (places - 1);
  const points = values.map((value, index) => {
    const x = WIDTH - (values.length - 1 - index) * step;
    return `${x.toFixed(1)},${(HEIGHT - 2 - (HEIGHT - 6) * (value / most)).toFixed(1)}`;
  });
  if (points.length > 1) {
    const first = points[0].split(",")[0];
    const area = `M${first},${HEIGHT} L${points.join(" L")} L${WIDTH},${HEIGHT} Z`;
    made.append(element("path", { class: "area", d: area }));
    made.append(element("polyline", { class: "line", points: points.join(" ") }));
  }
  return made;
}

/** Columns of counts. */
export function columns(counts, label) {
  const made = chart(label);
  const most = Math.max(...counts, 1);
  const width = WIDTH / counts.length;
  counts.forEach((count, index) => {
    const height = count ? Math.max(2, (HEIGHT - 4) * (count / most)) : 1;
    made.append(
      element("rect", {
        class: count ? "column" : "column none",
        x: (index * width + 1).toFixed(1),
        y: (HEIGHT - height).toFixed(1),
        width: (width - 2).toFixed(1),
        height: height.toFixed(1),
      }),
    );
  });
  return made;
}
