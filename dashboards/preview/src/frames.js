// What Prometheus answered as the data frames that Grafana's components draw.

import {
  applyFieldOverrides,
  createTheme,
  FieldType,
  getDisplayProcessor,
  standardEditorsRegistry,
  standardFieldConfigEditorRegistry,
  toDataFrame,
} from '@grafana/data';

export const theme = createTheme({ colors: { mode: 'dark' } });
standardEditorsRegistry.setInit(() => []);
standardFieldConfigEditorRegistry.setInit(() => []);

// `{{topic}} p99` with the labels of one series.
export function legend(format, labels) {
  return format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '');
}

function withConfig(panel, frames) {
  const data = applyFieldOverrides({
    data: frames,
    fieldConfig: panel.fieldConfig,
    fieldOptions: {},
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
  });
  let index = 0;
  for (const frame of data) {
    for (const field of frame.fields) {
      // What the panel says counts for numbers; names of series are their own.
      const { displayName, ...own } = field.config;
      if (field.type === FieldType.number) {
        field.config = { ...panel.fieldConfig.defaults, ...own, displayName };
        field.state = { ...field.state, seriesIndex: index++, displayName };
      }
      field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
    }
  }
  return data;
}

// One frame for each series over time, with gaps where there were no samples.
export function overTime(panel, answers, { from, to, step }) {
  const times = [];
  for (let time = from; time <= to; time += step) times.push(time);
  const frames = panel.targets.flatMap((target, place) =>
    answers[place].series.map(({ metric, values }) => {
      const known = new Map(values.map(([time, value]) => [time, Number(value)]));
      return toDataFrame({
        refId: target.refId,
        fields: [
          { name: 'Time', type: FieldType.time, values: times.map((time) => time * 1000) },
          {
            name: 'Value',
            type: FieldType.number,
            labels: metric,
            values: times.map((time) => known.get(time) ?? null),
            config: { displayName: legend(target.legendFormat, metric) },
          },
        ],
      });
    })
  );
  return withConfig(panel, frames);
}

// One field for each series, with its last value.
export function last(panel, answers) {
  const frames = panel.targets.flatMap((target, place) =>
    answers[place].series.map(({ metric, value }) =>
      toDataFrame({
        fields: [
          {
            name: 'Value',
            type: FieldType.number,
            values: [Number(value[1])],
            config: { displayName: legend(target.legendFormat, metric) },
          },
        ],
      })
    )
  );
  return withConfig(panel, frames).map((frame) => frame.fields[0]);
}

// One frame: a row for each label set, a column for each label and query.
export function table(panel, answers) {
  const rows = new Map();
  const labels = new Set();
  answers.forEach(({ series }, place) => {
    for (const { metric, value } of series) {
      const key = JSON.stringify(metric);
      Object.keys(metric).forEach((label) => labels.add(label));
      if (!rows.has(key)) rows.set(key, { metric, values: [] });
      rows.get(key).values[place] = Number(value[1]);
    }
  });
  const all = [...rows.values()];
  const fields = [...labels].map((label) => ({
    name: label,
    type: FieldType.string,
    values: all.map((row) => row.metric[label] ?? ''),
  }));
  panel.targets.forEach((target, place) => {
    const names = panel.transformations.at(-1).options.renameByName;
    const name = names[`Value #${target.refId}`] ?? names.Value;
    const values = all.map((row) => row.values[place] ?? null);
    fields.push({ name, type: FieldType.number, values, config: { displayName: name } });
  });
  return withConfig(panel, [toDataFrame({ fields })])[0];
}
