// The cases of sdks.py with OpenAI's SDK for Node: one line of JSON a case. Run in the folder that has the package:
// node --input-type=module - BASE_URL KEY PICTURE < sdks.mjs
import { createReadStream, readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import OpenAI, { OpenAIError, toFile } from 'openai';

const POLL_MS = 20;
const RETRY_AFTER_MS = 1000;
const [baseURL, apiKey, path] = process.argv.slice(2);
const installed = new OpenAI({ baseURL, apiKey });
const client = installed.withOptions({ maxRetries: 0 });
const bytes = readFileSync(path);

const create = (prompt, input_reference) => client.videos.create({ prompt, input_reference });

// It has no create_and_poll for videos.
async function finished(prompt) {
  const { id } = await create(prompt);
  while ((await client.videos.retrieve(id)).status !== 'completed') await pause(POLL_MS);
  return id;
}

async function isListed(id) {
  for await (const video of client.videos.list({ limit: 100 })) if (video.id === id) return;
  throw new Error('it is not in the list');
}

async function createAfterPause(prompt) {
  const begun = performance.now();
  await installed.videos.create({ prompt });
  if (performance.now() - begun < RETRY_AFTER_MS) throw new OpenAIError('it did not wait');
}

const CASES = {
  'create: a prompt alone': (name) => create(name),
  'create: frame as an open file': (name) => create(name, new File([bytes], 'first.png', { type: 'image/png' })),
  'create: frame by path': (name) => create(name, createReadStream(path)),
  'create: frame as bytes': async (name) => create(name, await toFile(bytes)),
  'create: frame as bytes with name and type': async (name) =>
    create(name, await toFile(bytes, 'first.png', { type: 'image/png' })),
  'create: frame as a stream': (name) => create(name, Readable.toWeb(createReadStream(path))),
  'create: frame as a data URL': (name) =>
    create(name, { image_url: `data:image/png;base64,${bytes.toString('base64')}` }),
  'create: frame as a Blob': (name) => create(name, new Blob([bytes], { type: 'image/png' })),
  'retrieve': async (name) => client.videos.retrieve(await finished(name)),
  'download_content': async (name) => (await client.videos.downloadContent(await finished(name))).arrayBuffer(),
  'list': async (name) => isListed(await finished(name)),
  'delete': async (name) => client.videos.delete(await finished(name)),
  'create: wrong key': (name) => client.withOptions({ apiKey: 'sk-other' }).videos.create({ prompt: name }),
  'create: no prompt': () => create(''),
  'create: no such size': (name) => client.videos.create({ prompt: name, size: '1x1' }),
  'retrieve: no such id': () => client.videos.retrieve('video_nobody'),
  'download_content: too early': async (name) => client.videos.downloadContent((await create(name)).id),
  'delete: too early': async (name) => client.videos.delete((await create(name)).id),
  'create: 413': (name) => create(name),
  'create: 429': (name) => create(name),
  'create: 429, as installed': createAfterPause,
  'create: 503': (name) => create(name),
  'create: 500, but billed': (name) => create(name),
  'create: 500, but billed, as installed': (name) => installed.videos.create({ prompt: name }),
  'create: disconnected, but billed': (name) => create(name),
  'create: disconnected, but billed, as installed': (name) => installed.videos.create({ prompt: name }),
};

await Promise.all(
  Object.entries(CASES).map(async ([name, act]) => {
    const outcome = await act(name).then(() => 'works', (error) => error.constructor.name);
    console.log(JSON.stringify({ case: name, outcome }));
  }),
);
