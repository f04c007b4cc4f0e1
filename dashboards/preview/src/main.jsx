// Draws a board as Grafana does, with Grafana's own components, from the JSON that is shipped.

import { dateTime, formattedValueToString, getDisplayProcessor } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { BigValue, GlobalStyles, InteractiveTable, PanelChrome, ThemeContext, TimeSeries } from '@grafana/ui';
import { createRoot } from 'react-dom/client';

import { last, overTime, table, theme } from './frames';
import { Heatmap } from './heatmap';

const { board, answers, job, from, to, step } = window.PREVIEW;
const WIDTH = 1600;
const COLUMNS = 24;
const CELL = 30;
const GAP = 8;

const range = { from: dateTime(from * 1000), to: dateTime(to * 1000) };
const timeRange = { ...range, raw: range };

function place({ x, y, w, h }) {
  const column = (WIDTH - GAP * (COLUMNS - 1)) / COLUMNS;
  return {
    left: x * (column + GAP),
    top: y * (CELL + GAP),
    width: w * column + (w - 1) * GAP,
    height: h * CELL + (h - 1) * GAP,
  };
}

function Nothing({ panel, width, height }) {
  const text = panel.fieldConfig.defaults.noValue;
  const style = { width, height, display: 'grid', placeItems: 'center' };
  return <div style={{ ...style, color: theme.colors.text.secondary }}>{text}</div>;
}

function Stats({ panel, width, height }) {
  const fields = last(panel, answers[panel.id]);
  const { colorMode, graphMode, textMode } = panel.options;
  const each = Math.floor((width - GAP * (fields.length - 1)) / fields.length);
  return (
    <div style={{ display: 'flex', gap: GAP }}>
      {fields.map((field, index) => {
        const display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
        const value = { ...display(field.values[0]), title: field.config.displayName };
        const modes = { colorMode, graphMode, textMode, justifyMode: 'auto' };
        return <BigValue key={index} value={value} width={each} height={height} theme={theme} {...modes} />;
      })}
    </div>
  );
}

// Grafana's own table needs parts of Grafana; this one is published by itself.
function Rows({ panel, width, height }) {
  const { fields, length } = table(panel, answers[panel.id]);
  const names = fields.map((field) => field.config.displayName ?? field.name);
  const columns = names.map((name) => ({ id: name, header: name }));
  const data = Array.from({ length }, (_, row) => {
    const cell = (field, index) => [names[index], formattedValueToString(field.display(field.values[row]))];
    return { id: row, ...Object.fromEntries(fields.map(cell)) };
  });
  return (
    <div style={{ width, height, overflow: 'hidden' }}>
      <InteractiveTable columns={columns} data={data} getRowId={(row) => String(row.id)} />
    </div>
  );
}

function Inside({ panel, width, height }) {
  const size = { width, height };
  if (!answers[panel.id].some((answer) => answer.series.length > 0)) {
    return <Nothing panel={panel} {...size} />;
  }
  switch (panel.type) {
    case 'timeseries': {
      const frames = overTime(panel, answers[panel.id], { from, to, step });
      const { legend } = panel.options;
      return <TimeSeries frames={frames} legend={legend} timeRange={timeRange} timeZone="utc" {...size} />;
    }
    case 'heatmap':
      return <Heatmap panel={panel} answers={answers[panel.id]} time={{ from, to, step }} {...size} />;
    case 'stat':
      return <Stats panel={panel} {...size} />;
    case 'table':
      return <Rows panel={panel} {...size} />;
    default:
      throw new Error(`the preview cannot draw ${panel.type}: add it to src/main.jsx`);
  }
}

function Panel({ panel }) {
  const at = place(panel.gridPos);
  if (panel.type === 'row') {
    return <h4 style={{ position: 'absolute', ...at, margin: 0 }}>{panel.title}</h4>;
  }
  return (
    <div style={{ position: 'absolute', ...at }}>
      <PanelChrome
        title={panel.title}
        description={panel.description}
        width={at.width}
        height={at.height}
      >
        {(width, height) => <Inside panel={panel} width={width} height={height} />}
      </PanelChrome>
    </div>
  );
}

function Board() {
  const height = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  const note = `job ${job}: drawn with Grafana's panel components from the shipped JSON`;
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div style={{ padding: 16, background: theme.colors.background.canvas }}>
        <h2>{board.title}</h2>
        <p style={{ color: theme.colors.text.secondary }}>{note}</p>
        <div style={{ position: 'relative', width: WIDTH, height: height * (CELL + GAP) }}>
          {board.panels.map((panel) => (
            <Panel key={panel.id} panel={panel} />
          ))}
        </div>
      </div>
    </ThemeContext.Provider>
  );
}

initPluginTranslations('preview').then(() =>
  createRoot(document.getElementById('page')).render(<Board />)
);
