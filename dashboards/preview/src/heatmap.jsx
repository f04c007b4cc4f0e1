// Buckets over time. Grafana does not publish its heatmap, so this one is drawn here.

import { getValueFormat, formattedValueToString } from '@grafana/data';

import { theme } from './frames';

const LEFT = 96;
const BELOW = 24;

export function Heatmap({ panel, answers, width, height, time }) {
  const bound = (series) => Number(series.metric.le.replace('+Inf', 'Infinity'));
  const buckets = [...answers[0].series].sort((a, b) => bound(a) - bound(b));
  // Buckets hold all that is below their bound; a cell what is between two bounds.
  const below = buckets.map((one) => new Map(one.values.map(([at, n]) => [at, Number(n)])));
  const cells = [];
  below.forEach((bucket, row) => {
    for (const [at, count] of bucket) {
      const own = count - (row > 0 ? (below[row - 1].get(at) ?? 0) : 0);
      if (own > 1e-9) cells.push({ at, row, own });
    }
  });
  const most = Math.max(...cells.map((cell) => cell.own), 1e-9);
  const inner = { width: width - LEFT, height: height - BELOW };
  const cellWidth = (inner.width * time.step) / (time.to - time.from);
  const cellHeight = inner.height / Math.max(buckets.length, 1);
  const y = (row) => inner.height - (row + 1) * cellHeight;
  const format = getValueFormat(panel.options.yAxis.unit);
  const name = (series) =>
    bound(series) === Infinity ? '+Inf' : formattedValueToString(format(bound(series)));
  const clock = (at) => new Date(at * 1000).toISOString().slice(11, 16);
  const ticks = [0.1, 0.5, 0.9].map((part) => time.from + part * (time.to - time.from));
  const x = (at) => LEFT + ((at - time.from) / (time.to - time.from)) * inner.width;
  return (
    <svg width={width} height={height} style={{ fontSize: 12, fill: theme.colors.text.primary }}>
      {cells.map(({ at, row, own }) => (
        <rect
          key={`${at} ${row}`}
          x={x(at) - cellWidth}
          y={y(row)}
          width={Math.max(cellWidth - 1, 1)}
          height={Math.max(cellHeight - 1, 1)}
          fill={`hsl(25 90% ${20 + 45 * Math.sqrt(own / most)}%)`}
        />
      ))}
      {buckets.map((series, row) => (
        <text key={row} x={LEFT - 8} y={Math.max(y(row) + 4, 10)} textAnchor="end">
          {name(series)}
        </text>
      ))}
      {ticks.map((at) => (
        <text key={at} x={x(at)} y={height - 6} textAnchor="middle">
          {clock(at)}
        </text>
      ))}
    </svg>
  );
}
