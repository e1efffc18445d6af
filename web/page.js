// @ts-check

/**
 * The page. A photo comes in by drop, paste or choice, becomes a card, is sent, and is then followed until
 * it is finished; a click on the card shows what was found. The API serves page.html with this file and
 * page.css inside it, under a policy that allows nothing else: no inline style or handler, no other host.
 *
 * File names, labels and messages are other people's words. They reach the page only as text (`textContent`,
 * a property), never as markup.
 *
 * @import { CompletedImage, Failure, RekognitionFace, RekognitionLabel, Status } from '../shared/image.ts'
 *
 * @typedef {Partial<Omit<CompletedImage, 'imageId' | 'status'>> &
 *   { imageId: string, status: Status, failure?: Failure }} ImageRecord
 *   what the API shows of an image, in whatever state; a list leaves the results of Rekognition out
 *
 * @typedef {Status | 'waiting' | 'uploading' | 'rejected' | 'gone'} Phase
 *   the record's status, and what comes before and beside it: not sent yet, being sent, refused, deleted
 *
 * @typedef {{ what: string, todo: string, code?: string, said?: string, again?: boolean }} Problem
 *   what is wrong, what to do, the server's code and own words, and whether sending again can help
 *
 * @typedef {object} Photo
 * @property {string} key the imageId, once there is one
 * @property {string} name
 * @property {Phase} phase
 * @property {Card} card
 * @property {File} [file] of a photo that was added on this page
 * @property {string} [preview] its blob URL
 * @property {number} sent per cent
 * @property {number} polls how often it was asked for
 * @property {number} trouble how many of these went wrong in a row
 * @property {string} [idempotencyKey]
 * @property {string | undefined} [note] why it is not going on just now
 * @property {Problem | undefined} [problem]
 * @property {ImageRecord | undefined} [record]
 *
 * @typedef {{ status: number, retryAfter: number | undefined, body: unknown }} Answer
 */

// Under an API Gateway stage the page is at /prod or /prod/. The origin in front keeps a path of `//host`
// from naming another host.
const BASE = location.origin + location.pathname.replace(/\/*$/, '/')

// A browser opens six connections per host over HTTP/1.1. Three uploads and two long polls leave one for
// thumbnails and for opening a photo.
const UPLOADS = 3
const POLLS = 2

/** Seconds that a poll may wait on the server. Short ones first, so that "queued" turns into "processing". */
const WAITS = [1, 2, 5, 10]

/* Small tools */

/** @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T} */
function byId(id, kind) {
  const element = document.getElementById(id)
  if (element instanceof kind) return element
  throw new Error(`page.html has no ${kind.name} #${id}`)
}

/**
 * An element with properties (`textContent`, `onclick`, …) or, where there is no such property, attributes.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [props]
 * @param {...(Node | string | undefined | false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
function h(tag, props = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(props)) {
    if (name in element) Reflect.set(element, name, value)
    else element.setAttribute(name, String(value))
  }
  for (const child of children) if (child) element.append(child)
  return element
}

/** @param {number} seconds */
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000))

/** Seconds before the next attempt: 1, 2, 4, … 30. @param {number} attempt from 0 */
const backoff = (attempt) => Math.min(30, 2 ** attempt)

/** A queue, so many at a time. @param {number} width @param {(photo: Photo) => Promise<void>} work */
function lane(width, work) {
  /** @type {Photo[]} */
  const queue = []
  let busy = 0
  function next() {
    while (busy < width) {
      const photo = queue.shift()
      if (!photo) return
      busy++
      work(photo).finally(() => {
        busy--
        next()
      })
    }
  }
  return {
    /** @param {Photo} photo */
    add(photo) {
      queue.push(photo)
      next()
    },
    isEmpty: () => queue.length === 0,
  }
}

/** @param {number} count @param {string} one */
const counted = (count, one) => `${number(count)} ${one}${count === 1 ? '' : 's'}`

/** @param {number} value @param {number} [digits] most digits after the point */
const number = (value, digits = 0) => value.toLocaleString('en', { maximumFractionDigits: digits })

/** @param {number} bytes */
function size(bytes) {
  if (bytes < 999_500) return `${number(bytes / 1e3)} KB`
  return `${number(bytes / 1e6, 1)} MB`
}

/** Cut off, not rounded: 99.98 is not 100. @param {number | undefined} confidence */
const percent = (confidence, digits = 1) =>
  confidence === undefined ? '' : `${number(Math.floor(confidence * 10 ** digits) / 10 ** digits, digits)}%`

/** @param {string | undefined} type SURPRISED → Surprised */
const words = (type = '') => type.charAt(0) + type.slice(1).toLowerCase()

/** @param {string} from @param {string} to */
const elapsed = (from, to) => `${number(Math.max(0, Date.parse(to) - Date.parse(from)) / 1000, 1)} s`

/* The server */

/** @param {string | null} header Retry-After @returns {number | undefined} seconds, a minute at most */
function readRetryAfter(header) {
  const seconds = Number(header ?? Number.NaN)
  return seconds >= 0 ? Math.min(seconds, 60) : undefined
}

/** @param {string} text @returns {unknown} */
function readJson(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** @param {string} imageId @param {'' | '/original' | '/thumbnail'} [part] */
const imageUrl = (imageId, part = '') => `${BASE}images/${encodeURIComponent(imageId)}${part}`

/**
 * @param {string} url
 * @param {number} [seconds] how long it may take
 * @returns {Promise<Answer | undefined>} nothing when no answer came
 */
async function get(url, seconds = 15) {
  try {
    const response = await fetch(url, {
      cache: 'no-cache',
      signal: AbortSignal.timeout(seconds * 1000),
    })
    const body = readJson(await response.text())
    return { status: response.status, retryAfter: readRetryAfter(response.headers.get('retry-after')), body }
  } catch {
    return undefined
  }
}

/**
 * Sends the bytes as they are. XMLHttpRequest, because `fetch` does not tell how much has been sent.
 *
 * @param {File} file
 * @param {string} idempotencyKey the same for each attempt: a lost answer does not make a second image
 * @param {(percent: number) => void} onProgress
 * @returns {Promise<Answer | undefined>} nothing when no answer came
 */
function post(file, idempotencyKey, onProgress) {
  return new Promise((resolve) => {
    const xhr = new XMLHttpRequest()
    // URLSearchParams mends lone surrogates, on which encodeURIComponent throws; %20 is a space to every parser.
    const query = new URLSearchParams({ filename: file.name }).toString().replaceAll('+', '%20')
    xhr.open('POST', `${BASE}images?${query}`)
    // Any other type could make the server read the body as a form or as JSON. It goes by the bytes anyway.
    const type = file.type.startsWith('image/') ? file.type : 'application/octet-stream'
    xhr.setRequestHeader('content-type', type)
    xhr.setRequestHeader('idempotency-key', idempotencyKey)
    xhr.upload.onprogress = (event) => {
      if (event.lengthComputable) onProgress(Math.floor((event.loaded / event.total) * 100))
    }
    xhr.onload = () => {
      const retryAfter = readRetryAfter(xhr.getResponseHeader('retry-after'))
      resolve({ status: xhr.status, retryAfter, body: readJson(xhr.responseText) })
    }
    xhr.timeout = 300_000
    xhr.onerror = xhr.ontimeout = () => resolve(undefined)
    xhr.send(file)
  })
}

/** randomUUID exists only on https and localhost; the page may be on http in a home network. */
const newIdempotencyKey = () => crypto.getRandomValues(new Uint32Array(4)).join('-')

/** While the server is gone: settles when it is back. @type {Promise<boolean> | undefined} */
let outage

/**
 * After a request without an answer: holds everything until the server answers again.
 *
 * @returns whether the server was gone, as opposed to just this connection
 */
function lost() {
  outage ??= untilItAnswers().finally(() => {
    outage = undefined
  })
  return outage
}

async function untilItAnswers() {
  for (let attempt = 0; ; attempt++) {
    if (await get(`${BASE}health`, 5)) {
      if (attempt > 0) announce('The server answers again.')
      outageBanner.hidden = true
      return attempt > 0
    }
    if (attempt === 0) announce('The server does not answer. The page keeps trying.')
    outageBanner.hidden = false
    for (let left = Math.min(10, backoff(attempt)); left > 0; left--) {
      outageText.textContent = `Next try in ${left} s.`
      await sleep(1)
    }
    outageText.textContent = 'Trying now.'
  }
}

/* In plain words */

const FORMATS = 'JPEG, PNG, WebP, GIF or AVIF'
const SAVE_AS_JPEG = 'Open it in a photo program, save or export it as JPEG, and add that file.'

/** What a code means and what to do about it. @type {Record<string, [what: string, todo: string]>} */
const MEANINGS = {
  EMPTY_IMAGE: ['The file is empty.', 'If it lies in a cloud folder, let it download first.'],
  IMAGE_TOO_LARGE: ['The file is larger than this server takes.', 'Save a smaller version and add that.'],
  UNSUPPORTED_FORMAT: [`This is not a ${FORMATS} picture, whatever its name says.`, SAVE_AS_JPEG],
  UNAUTHENTICATED: ['This server lets only signed-in people add photos.', 'Sign in, then reload the page.'],
  IMAGE_NOT_FOUND: ['This photo is no longer on the server.', 'Add it again if you still need it.'],
  TOO_MANY_REQUESTS: ['The server has too much to do.', 'Wait a little, then send the photo again.'],
  UNAVAILABLE: ['The server cannot take photos just now.', 'Wait a little, then send the photo again.'],
  CORRUPT_IMAGE: ['The picture is damaged and cannot be read to its end.', SAVE_AS_JPEG],
  IMAGE_TOO_SMALL: [
    'The picture is too small to analyse.',
    'Add a version with at least 80 pixels on each side.',
  ],
  TOO_MANY_PIXELS: ['The picture has too many pixels.', 'Scale it down, then add the smaller version.'],
  ORIGINAL_MISSING: ['The file disappeared before it could be analysed.', 'Add it again.'],
  ANALYSIS_REFUSED: ['The analysis service refused the picture.', SAVE_AS_JPEG],
  EXHAUSTED: [
    'Several attempts at the analysis came to nothing.',
    'The photo may be fine: add it again later.',
  ],
}

/** @param {Failure} failure @returns {Problem} */
function explainFailure({ code, message }) {
  const [what, todo] = MEANINGS[code] ?? [message, '']
  return { what, todo, code, said: message }
}

/** @param {Answer} answer other than the one hoped for @returns {Problem} */
function explain({ status, body }) {
  const { code = `HTTP ${status}`, detail, title } = /** @type {Record<string, string>} */ (Object(body))
  const said = detail ?? title
  const again = status >= 500 || status === 429
  const [what, todo] = MEANINGS[code] ?? [
    again ? 'The server has trouble of its own with this photo.' : 'The server refused this photo.',
    again ? 'Send it again in a while.' : '',
  ]
  return { what, todo, code, again, said: String(said ?? '') }
}

/** @param {ImageRecord | undefined} record */
const isStandIn = (record) => record?.labelModelVersion === 'stand-in'

const standInNotice = () => [
  h('strong', {}, 'Stand-in results. '),
  'These are measurements of colour, brightness and sharpness made on this machine by a stand-in, ',
  'not Rekognition’s labels. ',
  h('code', {}, 'REKOGNITION=aws npm start'),
  ' uses the real service.',
]

/** @type {Record<Phase, string>} */
const STATUS_TEXTS = {
  waiting: 'Waiting to be sent',
  uploading: 'Uploading',
  awaiting_upload: 'Waiting for its file',
  pending: 'Queued',
  processing: 'Processing',
  completed: 'Completed',
  failed: 'Failed',
  rejected: 'Not accepted',
  gone: 'No longer on the server',
}

/** @param {Photo} photo */
function statusText({ phase, sent, note, problem, record }) {
  if (note) return note
  if (phase === 'uploading') return sent < 100 ? `Uploading ${sent}%` : 'Uploaded, almost there'
  if (phase === 'completed' && record?.faceCount) return `Completed · ${counted(record.faceCount, 'face')}`
  if (phase === 'rejected' && problem?.again) return 'Not sent'
  return STATUS_TEXTS[phase]
}

/** Said to those who do not see the page. Many at once become one sentence. @type {string[]} */
let unsaid = []

/** @param {string} sentence */
function announce(sentence) {
  if (unsaid.push(sentence) > 1) return
  setTimeout(() => {
    // Behind an open dialog nothing is read out, so the dialog has a voice of its own.
    const voice = detail.open ? detailLive : live
    voice.textContent = unsaid.length > 3 ? `${unsaid.length} updates. ${summaryText()}` : unsaid.join(' ')
    unsaid = []
  }, 700)
}

/* Photos */

/** In no particular order: the order is that of the cards in the page. @type {Map<string, Photo>} */
const photos = new Map()

/** @type {Phase[]} */
const UNDER_WAY = ['waiting', 'uploading', 'pending', 'processing']

/** @param {{ key: string, name: string, phase: Phase, file?: File, preview?: string, record?: ImageRecord }} start */
function newPhoto(start) {
  /** @type {Photo} */
  const photo = { ...start, card: newCard(), sent: 0, polls: 0, trouble: 0 }
  photo.card.open.onclick = () => openDetail(photo)
  photos.set(photo.key, photo)
  return photo
}

/** The one way in which a photo changes. @param {Photo} photo @param {Partial<Photo>} patch */
function change(photo, patch) {
  const before = photo.phase
  Object.assign(photo, patch)
  renderCard(photo)
  if (shown === photo) renderDetail()
  renderSummary()
  if (photo.phase === before) return
  if (photo.phase === 'completed') announce(`${photo.name}: completed.`)
  if (photo.problem) announce(`${photo.name}: ${statusText(photo)}. ${photo.problem.what}`)
}

/** @param {Photo} photo @param {ImageRecord} record */
function update(photo, record) {
  change(photo, {
    record,
    phase: record.status,
    name: record.original?.filename || photo.name,
    note: undefined,
    problem: record.failure && explainFailure(record.failure),
  })
}

/** @param {Photo} photo */
function remove(photo) {
  photos.delete(photo.key)
  if (photo.preview) URL.revokeObjectURL(photo.preview)
  const { element } = photo.card
  const near = element.nextElementSibling ?? element.previousElementSibling
  // Focus must not fall back to the top of the page.
  const heir = element.contains(document.activeElement) && (near?.querySelector('button') ?? fileInput)
  if (shown === photo) detail.close()
  element.remove()
  if (heir) heir.focus()
  renderSummary()
}

/** @param {unknown} body @returns {body is ImageRecord} */
const isRecord = (body) => Boolean(Object(body).imageId)

/* Sending */

/** @param {Iterable<File>} files */
function addFiles(files) {
  const cards = []
  for (const file of files) {
    const key = newIdempotencyKey()
    const preview = URL.createObjectURL(file)
    const photo = newPhoto({ key, name: file.name || 'Pasted picture', phase: 'waiting', file, preview })
    photo.idempotencyKey = key
    cards.push(photo.card.element)
    renderCard(photo)
    uploads.add(photo)
  }
  photoList.prepend(...cards)
  renderSummary()
  if (cards.length > 0) announce(`${counted(cards.length, 'photo')} added.`)
}

const uploads = lane(UPLOADS, async (photo) => {
  const { file, idempotencyKey } = photo
  if (!file || !idempotencyKey) return
  /** @param {Problem} problem */
  const reject = (problem) => change(photo, { phase: 'rejected', problem, note: undefined })
  let broken = 0
  let refused = 0
  for (;;) {
    if (outage) {
      change(photo, { phase: 'waiting', note: 'Waiting for the server' })
      await outage
    }
    if (!photos.has(photo.key)) return // dismissed
    if (!(await isReadable(file))) {
      return reject({
        what: 'The browser cannot read this file any more.',
        todo: 'It was moved, changed or is a folder. Choose it again.',
      })
    }
    change(photo, { phase: 'uploading', sent: 0, note: undefined, problem: undefined })
    const answer = await post(file, idempotencyKey, (sent) => change(photo, { sent }))
    if (!answer) {
      // A server may also break off a body that it finds too large; so not for ever.
      const wasGone = await lost()
      broken = wasGone ? 0 : broken + 1
      if (broken === 3) {
        return reject({
          what: 'The connection broke off three times while sending.',
          todo: 'The network may be unsteady, or the file too large for this server.',
          again: true,
        })
      }
      if (!wasGone) await sleep(backoff(broken))
      continue
    }
    if (answer.status === 202) return accepted(photo, String(Object(answer.body).imageId))
    const problem = explain(answer)
    if (!problem.again || ++refused > 5) return reject(problem)
    const seconds = Math.ceil(Math.max(answer.retryAfter ?? 0, backoff(refused - 1)))
    change(photo, { phase: 'waiting', note: `Server busy, next try in ${seconds} s` })
    await sleep(seconds)
  }
})

/** @param {File} file */
async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer()
    return true
  } catch {
    return false
  }
}

/** @param {Photo} photo @param {string} imageId */
function accepted(photo, imageId) {
  const twin = photos.get(imageId)
  if (twin && twin !== photo) remove(twin) // the list was faster than the receipt
  photos.delete(photo.key)
  photos.set(imageId, photo)
  photo.key = imageId
  change(photo, { phase: 'pending' })
  polls.add(photo)
}

/** @param {Photo} photo */
function sendAgain(photo) {
  // The same key, in case that the last attempt arrived after all. A deleted image needs a new one.
  const key = (photo.phase !== 'gone' && photo.idempotencyKey) || newIdempotencyKey()
  photos.delete(photo.key)
  photos.set(key, photo)
  photo.polls = 0
  change(photo, { key, idempotencyKey: key, phase: 'waiting', problem: undefined, record: undefined })
  uploads.add(photo)
}

/* Following */

/** @param {Photo} photo */
async function ask(photo) {
  await outage
  if (photos.get(photo.key) !== photo) return
  const started = Date.now()
  const longest = WAITS[Math.min(photo.polls++, WAITS.length - 1)] ?? 10
  // Where others stand in line, a slow photo must not hold them up.
  const wait = polls.isEmpty() ? longest : Math.min(longest, 2)
  const answer = await get(`${imageUrl(photo.key)}?wait=${wait}`, wait + 15)
  if (!answer) {
    if (await lost()) pollLater(photo, 0)
    else pollLater(photo, backoff(photo.trouble++))
  } else if (answer.status === 200 && isRecord(answer.body)) {
    photo.trouble = 0
    update(photo, answer.body)
    if (!UNDER_WAY.includes(photo.phase)) return
    // The time that the answer took counts: a poll that waited is not made to wait twice.
    pollLater(photo, (answer.retryAfter ?? 1) - (Date.now() - started) / 1000)
  } else if (answer.status === 429 || answer.status >= 500) {
    pollLater(photo, Math.max(answer.retryAfter ?? 0, backoff(photo.trouble++)))
  } else if (answer.status === 404) {
    const problem = { ...explain(answer), again: photo.file !== undefined }
    change(photo, { phase: 'gone', problem, note: undefined })
  } else {
    change(photo, { phase: 'rejected', problem: explain(answer), note: undefined })
  }
}

const polls = lane(POLLS, ask)

/** @param {Photo} photo @param {number} seconds */
async function pollLater(photo, seconds) {
  await sleep(Math.max(0, seconds))
  polls.add(photo)
}

/* Earlier photos */

/** @type {string | undefined} */
let cursor
let listProblem = ''

async function loadList() {
  older.disabled = true
  const query = new URLSearchParams({ limit: '24', ...(cursor ? { cursor } : {}) })
  let answer = await get(`${BASE}images?${query}`)
  while (!answer) {
    await lost()
    await sleep(1)
    answer = await get(`${BASE}images?${query}`)
  }
  older.disabled = false
  older.hidden = false
  const body = Object(answer.body)
  if (!Array.isArray(body.items)) {
    listProblem = `The earlier photos cannot be shown. ${explain(answer).said}`
    older.textContent = 'Try again'
    return renderSummary()
  }
  listProblem = ''
  older.textContent = 'Show older photos'
  cursor = body.cursor
  older.hidden = !cursor
  for (const record of body.items) {
    if (!isRecord(record) || photos.has(record.imageId)) continue
    const name = record.original?.filename || `Photo ${record.imageId.slice(-6)}`
    const photo = newPhoto({ key: record.imageId, name, phase: record.status, record })
    if (record.failure) photo.problem = explainFailure(record.failure)
    renderCard(photo)
    photoList.append(photo.card.element)
    if (UNDER_WAY.includes(photo.phase)) polls.add(photo)
  }
  renderSummary()
}

/* Cards */

/** @typedef {ReturnType<typeof newCard>} Card */

function newCard() {
  const image = h('img', { alt: '', decoding: 'async', loading: 'lazy', hidden: true })
  image.onerror = () => {
    image.hidden = true
  }
  const open = h('button', { type: 'button', className: 'open' })
  const status = h('p', { className: 'status' })
  const progress = h('progress', { max: 100, 'aria-label': 'Sent', hidden: true })
  const why = h('p', { className: 'why', hidden: true })
  const chips = h('ul', { className: 'chips', hidden: true, 'aria-label': 'Labels' })
  const actions = h('div', { className: 'actions', hidden: true })
  const facts = h('div', { className: 'facts' }, h('h3', {}, open), status, progress, why, chips, actions)
  const element = h(
    'li',
    { className: 'card' },
    h('div', { className: 'thumb' }, photoIcon.cloneNode(true), image),
    facts,
  )
  return { element, image, open, status, progress, why, chips, actions }
}

/** @param {Photo} photo */
function renderCard(photo) {
  const { card, phase, problem, record } = photo
  card.element.dataset['phase'] = phase
  setText(card.open, photo.name)
  card.open.title = photo.name
  setText(card.status, statusText(photo))
  card.progress.hidden = phase !== 'uploading'
  card.progress.value = photo.sent
  card.why.hidden = !problem
  setText(card.why, problem ? `${problem.what} ${problem.todo}` : '')
  const source = phase === 'completed' ? imageUrl(photo.key, '/thumbnail') : (photo.preview ?? '')
  if (source && card.image.getAttribute('src') !== source) {
    card.image.src = source
    card.image.hidden = false
  }

  const labels = record?.labels ?? record?.rekognitionLabels?.map((label) => label.Name) ?? []
  card.chips.hidden = labels.length === 0
  const chips = labels.slice(0, 6).map((label) => h('li', {}, label))
  card.chips.replaceChildren(...chips)

  const actions = actionsFor(photo, 'quiet small')
  card.actions.hidden = actions.length === 0
  // Buttons that are still right stay, with the focus that may be on them.
  if (actions.length !== card.actions.childElementCount) card.actions.replaceChildren(...actions)
}

/** @param {Photo} photo @param {string} className */
function actionsFor(photo, className) {
  const actions = []
  const { file } = photo
  if (file && photo.problem?.again) {
    const onclick = () => sendAgain(photo)
    actions.push(h('button', { type: 'button', className, onclick }, 'Send again'))
  }
  // A failed image is on the server's list and would be back after a reload.
  if (photo.phase === 'rejected' || photo.phase === 'gone') {
    actions.push(h('button', { type: 'button', className, onclick: () => remove(photo) }, 'Dismiss'))
  }
  return actions
}

/** @param {HTMLElement} element @param {string} text */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}

function summaryText() {
  const all = [...photos.values()]
  const underWay = all.filter(({ phase }) => UNDER_WAY.includes(phase)).length
  const troubled = all.filter(({ problem }) => problem).length
  return [
    counted(all.length, 'photo'),
    underWay > 0 && `${number(underWay)} under way`,
    troubled > 0 && `${number(troubled)} with a problem`,
  ]
    .filter(Boolean)
    .join(' · ')
}

let summaryDue = false
/** Once per frame, however many photos change. */
function renderSummary() {
  if (summaryDue) return
  summaryDue = true
  requestAnimationFrame(() => {
    summaryDue = false
    setText(summary, photos.size > 0 ? summaryText() : '')
    empty.hidden = photos.size > 0 && !listProblem
    setText(empty, listProblem || 'The photos you add appear here.')
    standIn.hidden = ![...photos.values()].some(({ record }) => isStandIn(record))
  })
}

/* One photo in detail */

/** @type {Photo | undefined} */
let shown
/** What the panel shows, to leave it alone while only a percentage changes. @type {unknown[]} */
let shownFacts = []
/** Where the picture comes from. */
let shownSource = ''
/** The boxes that were picked by a click on a label or face. */
let picked = ''

/** @param {Photo} photo */
function openDetail(photo) {
  shown = photo
  shownFacts = []
  picked = ''
  // An entry of its own, so that Back closes the dialog, as on a phone it must.
  if (!detail.open) history.pushState({ detail: true }, '')
  renderDetail()
  if (!detail.open) detail.showModal()
  panel.scrollTop = 0
  detailBody.scrollTop = 0
  // A list leaves out the results of Rekognition.
  if (photo.phase === 'completed' && !photo.record?.rekognitionLabels) ask(photo)
}

function renderDetail() {
  const photo = shown
  if (!photo) return
  detail.dataset['phase'] = photo.phase
  setText(detailTitle, photo.name)
  setText(detailStatus, statusText(photo))
  previous.disabled = !neighbour(photo, 'previousElementSibling')
  next.disabled = !neighbour(photo, 'nextElementSibling')
  const facts = [photo, photo.phase, photo.record, photo.problem]
  if (facts.every((fact, at) => fact === shownFacts[at])) return
  shownFacts = facts
  renderPicture(photo)
  panel.replaceChildren(...panelSections(photo))
}

/** @param {Photo} photo @param {'previousElementSibling' | 'nextElementSibling'} side */
function neighbour(photo, side) {
  const element = photo.card.element[side]
  return [...photos.values()].find(({ card }) => card.element === element)
}

/** @param {'previousElementSibling' | 'nextElementSibling'} side */
function step(side) {
  const photo = shown && neighbour(shown, side)
  if (!photo) return
  openDetail(photo)
  announce(`${photo.name}, ${statusText(photo)}`)
}

/** @param {Photo} photo */
function renderPicture({ key, name, phase, preview, record }) {
  const onServer = record && phase !== 'gone'
  download.hidden = !onServer
  download.href = imageUrl(key, '/original')
  const source = preview ?? (onServer ? download.href : '')
  if (source !== shownSource) {
    shownSource = source
    const waiting = h('p', { className: 'muted' }, 'Loading the picture…')
    const image = h('img', { alt: name, decoding: 'async' })
    const frame = h('div', { className: 'frame', hidden: true }, image)
    image.onload = () => {
      waiting.remove()
      frame.hidden = false
    }
    image.onerror = () => {
      waiting.textContent = 'The browser cannot show this picture.'
    }
    image.src = source
    canvas.replaceChildren(waiting, frame)
  }
  renderBoxes(record)
}

/**
 * @typedef {{ group: string, kind: 'face' | 'label', name: string, confidence: number | undefined,
 *   box: NonNullable<RekognitionFace['BoundingBox']> }} Box
 */

/** Every box with its place, as fractions of the upright picture. @param {ImageRecord | undefined} record */
function boxesOf(record) {
  /** @type {Box[]} */
  const boxes = []
  for (const label of record?.rekognitionLabels ?? []) {
    for (const { BoundingBox, Confidence } of label.Instances ?? []) {
      if (!BoundingBox) continue
      const group = `label ${label.Name}`
      boxes.push({ group, kind: 'label', name: label.Name, confidence: Confidence, box: BoundingBox })
    }
  }
  for (const [at, { BoundingBox, Confidence }] of (record?.rekognitionFaces ?? []).entries()) {
    if (!BoundingBox) continue
    const name = `Face ${at + 1}`
    boxes.push({ group: `face ${at}`, kind: 'face', name, confidence: Confidence, box: BoundingBox })
  }
  return boxes
}

/** More names than this hide the picture; then a name shows only when its row is pointed at. */
const CROWD = 10

/** @param {ImageRecord | undefined} record */
function renderBoxes(record) {
  const frame = canvas.querySelector('.frame')
  for (const old of canvas.querySelectorAll('.box')) old.remove()
  const boxes = boxesOf(record)
  boxesTool.hidden = boxes.length === 0
  if (!frame) return
  frame.classList.toggle('crowded', boxes.length > CROWD)
  /** @type {string[]} */
  const spots = []
  for (const { group, kind, name, confidence, box } of boxes) {
    const { Left = 0, Top = 0, Width = 0, Height = 0 } = box
    const tag = h('span', {}, `${name} ${percent(confidence, 0)}`)
    const element = h('div', { className: `box ${kind}`, 'aria-hidden': true }, tag)
    element.dataset['group'] = group
    element.style.left = `${Left * 100}%`
    element.style.top = `${Top * 100}%`
    element.style.width = `${Width * 100}%`
    element.style.height = `${Height * 100}%`
    // Two labels often have the same box (Person, Officer): the second one's name goes to its foot.
    const spot = `${Left.toFixed(1)} ${Top.toFixed(1)}`
    element.classList.toggle('foot', spots.includes(spot))
    spots.push(spot)
    element.classList.toggle('inside', Top < 0.08)
    element.classList.toggle('from-right', Left > 0.6)
    frame.append(element)
  }
  light(picked)
}

/** Brings out the boxes of one label or face; none: all are alike again. @param {string} group */
function light(group) {
  let any = false
  for (const box of canvas.querySelectorAll('.box')) {
    const isLit = group !== '' && box instanceof HTMLElement && box.dataset['group'] === group
    box.classList.toggle('lit', isLit)
    any ||= isLit
  }
  canvas.classList.toggle('lighting', any)
}

/**
 * A name with its confidence. Where there are boxes for it, they come out while the row is pointed at or
 * focused, and stay so when it is clicked.
 *
 * @param {string} name
 * @param {number | undefined} confidence
 * @param {{ group?: string | false | undefined, small?: string, className?: string }} [options] `group` is that of the boxes
 */
function row(name, confidence = 0, { group, small, className = '' } = {}) {
  const filled = h('i')
  filled.style.width = `${Math.min(Math.max(confidence, 0), 100)}%`
  const cells = [
    h(
      'span',
      { className: 'name' },
      group && h('span', { className: `swatch ${className}`, 'aria-hidden': true }),
      name,
      small && h('small', {}, ` ${small}`),
    ),
    h('span', { className: 'bar', 'aria-hidden': true }, filled),
    h('span', { className: 'value' }, percent(confidence)),
  ]
  if (!group) return h('div', { className: 'row' }, ...cells)
  const pressed = picked === group
  const button = h('button', { type: 'button', className: 'row', 'aria-pressed': pressed }, ...cells)
  button.onpointerenter = button.onfocus = () => light(group)
  button.onpointerleave = button.onblur = () => light(picked)
  button.onclick = () => {
    picked = picked === group ? '' : group
    for (const other of panel.querySelectorAll('[aria-pressed]')) other.setAttribute('aria-pressed', 'false')
    button.setAttribute('aria-pressed', String(picked === group))
    light(picked)
  }
  return button
}

/** @param {Photo} photo */
function panelSections(photo) {
  const { record, problem, phase } = photo
  const sections = []
  if (problem) {
    sections.push(
      h(
        'div',
        { className: 'notice bad' },
        h('p', {}, h('strong', {}, problem.what), ` ${problem.todo}`),
        problem.code &&
          h('p', { className: 'said' }, [problem.code, problem.said].filter(Boolean).join(': ')),
        h('div', { className: 'actions' }, ...actionsFor(photo, 'quiet small')),
      ),
    )
  } else if (phase !== 'completed') {
    sections.push(h('p', { className: 'notice' }, 'The results appear here as soon as they are there.'))
  }
  if (isStandIn(record)) sections.push(h('p', { className: 'notice' }, ...standInNotice()))
  if (record?.rekognitionLabels) sections.push(labelSection(record.rekognitionLabels))
  if (record?.rekognitionFaces) sections.push(faceSection(record.rekognitionFaces, isStandIn(record)))
  else if (phase === 'completed') sections.push(h('p', { className: 'muted' }, 'Loading the results…'))
  sections.push(fileSection(photo))
  if (record) {
    // `tabindex`, so that the keyboard can scroll it.
    const json = h(
      'pre',
      { tabIndex: 0, 'aria-label': 'The record as JSON' },
      JSON.stringify(record, null, 2),
    )
    sections.push(h('section', {}, h('details', {}, h('summary', {}, 'The whole record as JSON'), json)))
  }
  return sections
}

/** @param {string} title @param {number} [count] */
const heading = (title, count) =>
  h('h3', {}, title, count !== undefined && count > 0 && h('small', {}, number(count)))

/** Labels that are seen without a click. */
const FIRST_LABELS = 12

/** @param {RekognitionLabel[]} labels */
function labelSection(labels) {
  const rows = labels.map((label) => {
    const boxes = (label.Instances ?? []).filter((instance) => instance.BoundingBox).length
    const parents = (label.Parents ?? []).map((parent) => parent.Name).filter(Boolean)
    const small = [boxes > 1 && `${boxes} ×`, ...parents].filter(Boolean).join(', ')
    const group = boxes > 0 && `label ${label.Name}`
    return h('li', {}, row(label.Name, label.Confidence, { group, small }))
  })
  const rest = rows.splice(FIRST_LABELS)
  return h(
    'section',
    {},
    heading('Labels', labels.length),
    labels.length === 0 && h('p', { className: 'muted' }, 'No label is sure enough to be named.'),
    h('ul', { className: 'rows' }, ...rows),
    rest.length > 0 &&
      h('details', {}, h('summary', {}, `${rest.length} more`), h('ul', { className: 'rows' }, ...rest)),
  )
}

/** @param {RekognitionFace[]} faces @param {boolean} standIn */
function faceSection(faces, standIn) {
  const people = faces.map((face, at) => {
    const { AgeRange, Gender } = face
    const guess = [
      AgeRange && `Looks ${AgeRange.Low ?? '?'} to ${AgeRange.High ?? '?'} years old`,
      Gender?.Value && `${words(Gender.Value)} ${percent(Gender.Confidence, 0)}`,
    ].filter(Boolean)
    const emotions = (face.Emotions ?? [])
      .toSorted((a, b) => (b.Confidence ?? 0) - (a.Confidence ?? 0))
      .filter(({ Confidence = 0 }, rank) => rank === 0 || (rank < 4 && Confidence >= 1))
      .map(({ Type, Confidence }) => h('li', {}, row(words(Type), Confidence)))
    const group = face.BoundingBox && `face ${at}`
    return h(
      'div',
      { className: 'person' },
      h('div', { className: 'rows' }, row(`Face ${at + 1}`, face.Confidence, { group, className: 'face' })),
      guess.length > 0 && h('p', { className: 'guess' }, guess.join(' · ')),
      h('ul', { className: 'rows', 'aria-label': `Emotions of face ${at + 1}` }, ...emotions),
    )
  })
  const none = standIn ? 'The stand-in does not look for faces.' : 'No face was found.'
  return h(
    'section',
    {},
    heading('Faces', faces.length),
    faces.length === 0 && h('p', { className: 'muted' }, none),
    ...people,
  )
}

/** @param {Photo} photo */
function fileSection({ file, record, name }) {
  const original = record?.original
  const bytes = original?.bytes ?? file?.size
  const { width, height } = original ?? {}
  /** @type {[term: string, value: string | false | undefined, className?: string][]} */
  const facts = [
    ['Name', original?.filename ?? file?.name ?? name],
    ['Type', original?.contentType ?? file?.type],
    ['Size', bytes !== undefined && size(bytes)],
    [
      'Pixels',
      width && height
        ? `${number(width)} × ${number(height)} (${number((width * height) / 1e6, 1)} megapixels)`
        : '',
    ],
    [
      'Added',
      record?.createdAt &&
        new Date(record.createdAt).toLocaleString('en', { dateStyle: 'medium', timeStyle: 'short' }),
    ],
    ['Took', record?.createdAt && record.completedAt && elapsed(record.createdAt, record.completedAt)],
    ['Model', record?.labelModelVersion],
    ['Image id', record?.imageId, 'mono'],
    ['SHA-256', original?.sha256, 'mono'],
  ]
  const list = h('dl')
  for (const [term, value, className = ''] of facts) {
    if (value) list.append(h('dt', {}, term), h('dd', { className }, value))
  }
  return h('section', {}, heading('File'), list)
}

/* The way in */

/** @param {DragEvent} event */
const hasFiles = (event) => event.dataTransfer?.types.includes('Files') ?? false

addEventListener('dragover', (event) => {
  if (!hasFiles(event)) return
  event.preventDefault() // otherwise the browser would leave the page and show the file
  document.body.classList.add('dragging')
})
addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) document.body.classList.remove('dragging')
})
addEventListener('drop', (event) => {
  document.body.classList.remove('dragging')
  if (!event.dataTransfer || !hasFiles(event)) return
  event.preventDefault()
  detail.close()
  addFiles(event.dataTransfer.files)
})
addEventListener('paste', (event) => {
  const files = event.clipboardData?.files
  if (files?.length) addFiles(files)
})

const fileInput = byId('files', HTMLInputElement)
fileInput.addEventListener('change', () => {
  addFiles(fileInput.files ?? [])
  fileInput.value = '' // the same file may be chosen again
})

addEventListener('beforeunload', (event) => {
  const unsent = [...photos.values()].some(({ phase }) => phase === 'waiting' || phase === 'uploading')
  if (unsent) event.preventDefault()
})

/* Start */

const live = byId('live', HTMLElement)
const outageBanner = byId('outage', HTMLElement)
const outageText = byId('outage-text', HTMLElement)
const photoIcon = /** @type {SVGElement} */ (document.querySelector('#drop .icon'))
const photoList = byId('photos', HTMLUListElement)
const summary = byId('summary', HTMLElement)
const standIn = byId('stand-in', HTMLElement)
const empty = byId('empty', HTMLElement)
const older = byId('older', HTMLButtonElement)
const detail = byId('detail', HTMLDialogElement)
const detailBody = byId('detail-body', HTMLElement)
const detailTitle = byId('detail-title', HTMLElement)
const detailStatus = byId('detail-status', HTMLElement)
const detailLive = byId('detail-live', HTMLElement)
const canvas = byId('canvas', HTMLElement)
const panel = byId('panel', HTMLElement)
const boxesTool = byId('boxes-tool', HTMLElement)
const boxesSwitch = byId('boxes', HTMLInputElement)
const download = byId('download', HTMLAnchorElement)
const previous = byId('previous', HTMLButtonElement)
const next = byId('next', HTMLButtonElement)

standIn.append(...standInNotice())
byId('curl', HTMLElement).textContent = `curl -F image=@photo.jpg ${BASE}images`

older.onclick = loadList
previous.onclick = () => step('previousElementSibling')
next.onclick = () => step('nextElementSibling')
byId('close', HTMLButtonElement).onclick = () => detail.close()
boxesSwitch.onchange = () => canvas.classList.toggle('no-boxes', !boxesSwitch.checked)

detail.addEventListener('click', (event) => {
  if (event.target === detail) detail.close() // the ground behind it
})
detail.addEventListener('keydown', (event) => {
  if (event.altKey) return // Alt and an arrow is the browser's Back and Forward
  if (event.target instanceof Element && event.target.closest('pre')) return // there the arrows scroll
  if (event.key === 'ArrowLeft') step('previousElementSibling')
  if (event.key === 'ArrowRight') step('nextElementSibling')
})
detail.addEventListener('close', () => {
  const last = shown
  shown = undefined
  shownSource = ''
  canvas.replaceChildren()
  panel.replaceChildren()
  // The browser returns the focus to the first card; after a few steps it belongs on the last one.
  last?.card.open.focus()
  if (history.state?.detail) history.back()
})
addEventListener('popstate', () => detail.close())

history.replaceState(null, '') // a reload with the dialog open begins without it
loadList()
