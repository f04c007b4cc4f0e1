// Asks a Prometheus all that the shipped boards ask, and writes one page for each board.
//
//   node ask.mjs http://127.0.0.1:9090 [JOB [MINUTES]]

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';

const [prometheus, job = 'streamhouse-scrape', minutes = '15'] = process.argv.slice(2);
if (!prometheus) {
  console.error('say which Prometheus: node ask.mjs http://127.0.0.1:9090 [JOB [MINUTES]]');
  process.exit(2);
}

const folder = new URL('../boards/', import.meta.url);
const out = new URL('./out/', import.meta.url);
const to = Math.floor(Date.now() / 1000);
const from = to - Number(minutes) * 60;
const step = Math.max(5, Math.round((to - from) / 180));

// What Grafana puts in the place of its variables, with every one of them at "All".
function substitute(board, expr) {
  const values = { job, __rate_interval: `${Math.max(60, 4 * step)}s` };
  for (const variable of board.templating.list) {
    if (variable.allValue) values[variable.name] = variable.allValue;
  }
  return expr.replace(/\$(\w+)/g, (whole, name) => values[name] ?? whole);
}

async function ask(path, parameters) {
  const answer = await fetch(`${prometheus}/api/v1/${path}`, {
    method: 'POST',
    body: new URLSearchParams(parameters),
  });
  const json = await answer.json();
  if (json.status !== 'success') throw new Error(`${json.error}: ${parameters.query}`);
  return json.data.result ?? json.data;
}

async function answer(board, target) {
  const query = substitute(board, target.expr);
  const time = { start: from, end: to };
  const series = target.instant
    ? await ask('query', { query, time: to })
    : await ask('query_range', { query, step, ...time });
  const exemplars = target.exemplar ? await ask('query_exemplars', { query, ...time }) : [];
  return { series, exemplars: exemplars.flatMap((one) => one.exemplars) };
}

await mkdir(out, { recursive: true });
for (const file of (await readdir(folder)).filter((name) => name.endsWith('.json')).sort()) {
  const board = JSON.parse(await readFile(new URL(file, folder), 'utf8'));
  const answers = {};
  for (const panel of board.panels) {
    answers[panel.id] = await Promise.all((panel.targets ?? []).map((one) => answer(board, one)));
  }
  // `<` must not end the script that carries it.
  const data = JSON.stringify({ board, answers, job, from, to, step }).replaceAll('<', '\\u003c');
  const page = `<!doctype html><meta charset="utf-8"><title>${board.title}</title>
<link rel="stylesheet" href="page.css"><div id="page"></div>
<script>window.PREVIEW = ${data}</script><script src="page.js"></script>\n`;
  const name = file.replace('.json', '.html');
  await writeFile(new URL(name, out), page);
  // Name and height in pixels: a cell of the grid has 30, and 8 between two.
  const lines = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  console.log(`${name} ${lines * 38 + 140}`);
}
