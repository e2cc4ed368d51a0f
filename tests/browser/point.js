// where the only point of a design's trace of a figure is, in the window
([name, design]) => {
  const plot = document.querySelector('.plot[data-figure="' + name + '"]');
  const trace = plot._fullData.find((each) => each.meta && each.meta.design === design);
  const full = plot._fullLayout;
  plot.scrollIntoView({ block: "center", behavior: "instant" });
  const box = plot.getBoundingClientRect();
  return [box.left + full._size.l + full.xaxis.d2p(trace.x[0]), box.top + full._size.t + full.yaxis.d2p(trace.y[0])];
}
