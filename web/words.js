// @ts-check

/**
 * What the page says, in plain words.
 *
 * @import { Failure, RekognitionFace } from '../shared/image.ts'
 * @import { Answer } from './server.js'
 * @import { ImageRecord, Phase, Photo, Problem } from './store.js'
 */

import { byId, counted, h, setText } from './tools.js'

/** What the API takes. */
const FORMATS = byId('formats', HTMLElement).textContent
const SAVE_AS_JPEG = 'Open it in a photo program, save or export it as JPEG, and add that file.'

/** What a code means and what to do about it. @type {Record<string, [what: string, todo: string]>} */
const MEANINGS = {
  EMPTY_IMAGE: ['The file is empty.', 'If it lies in a cloud folder, let it download first.'],
  IMAGE_TOO_LARGE: ['The file is larger than this server takes.', 'Save a smaller version and add that.'],
  UNSUPPORTED_FORMAT: [`The content of this file is not a ${FORMATS} picture.`, SAVE_AS_JPEG],
  UNAUTHENTICATED: [
    'This server takes signed requests only.',
    'Use the command line: image-analyzer upload.',
  ],
  IMAGE_NOT_FOUND: ['This photo is no longer on the server.', 'Add it again if you still need it.'],
  TOO_MANY_REQUESTS: ['The server takes no more photos for now.', 'Send this one again later.'],
  BUDGET_EXHAUSTED: [
    'The server takes no more photos this month: its budget is spent.',
    'Send this one again next month.',
  ],
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
    'We could not analyse this photo after several tries.',
    'The photo may be fine: try it again later.',
  ],
}

/** @param {Failure} failure @returns {Problem} */
export function explainFailure({ code, message }) {
  const [what, todo] = MEANINGS[code] ?? [message, '']
  return { what, todo, code, said: message }
}

/** What an answer means that has no code: it is a gateway's or a proxy's own. @type {Record<number, string>} */
const CODE_BY_STATUS = {
  401: 'UNAUTHENTICATED',
  403: 'UNAUTHENTICATED',
  413: 'IMAGE_TOO_LARGE',
  429: 'TOO_MANY_REQUESTS',
  502: 'UNAVAILABLE',
  503: 'UNAVAILABLE',
  504: 'UNAVAILABLE',
}

/** @param {Answer} answer other than the one hoped for @returns {Problem} */
export function explain({ status, body }) {
  const {
    code = CODE_BY_STATUS[status] ?? `HTTP ${status}`,
    detail,
    title,
    message,
  } = /** @type {Record<string, string>} */ (Object(body))
  // API Gateway says `message`.
  const said = detail ?? title ?? message
  const again = status >= 500 || status === 429
  const [what, todo] = MEANINGS[code] ?? [
    again ? 'The server had an error with this photo.' : 'The server refused this photo.',
    again ? 'Send it again in a while.' : '',
  ]
  return { what, todo, code, again, said: String(said ?? '') }
}

/**
 * @typedef {{ DetectedText: string, Type?: string, Confidence?: number,
 *   Geometry?: { BoundingBox?: RekognitionFace['BoundingBox'] } }} TextDetection
 */

/** The words of a line are detections too, and say nothing more. @param {ImageRecord | undefined} record */
export const linesOf = (record) =>
  /** @type {TextDetection[]} */ (record?.rekognitionTextDetections ?? []).filter(
    ({ Type }) => Type !== 'WORD',
  )

/** @param {ImageRecord | undefined} record */
export const isStandIn = (record) => record?.labelModelVersion === 'stand-in'

/**
 * What has to be said about results that are not Rekognition's own of this moment.
 *
 * @param {ImageRecord | undefined} record
 * @returns {{ kind: string, title: string, text: string, command?: string } | undefined}
 */
export function noticeFor(record) {
  const version = record?.labelModelVersion ?? ''
  if (version === 'stand-in') {
    return {
      kind: 'stand-in',
      title: 'Stand-in results.',
      text: 'These are measurements of colour, brightness and sharpness made on this machine, not Rekognition’s labels. For those:',
      command: 'REKOGNITION=aws npm start',
    }
  }
  if (version.startsWith('local-')) {
    return {
      kind: 'local',
      title: 'Results of open models.',
      text: 'They run on this machine, know about a thousand kinds of things, faces, expressions and Latin text, and err more often than Rekognition. For its own results:',
      command: 'REKOGNITION=aws npm start',
    }
  }
  if (version.startsWith('recorded ')) {
    return {
      kind: 'recorded',
      title: 'Recorded results.',
      text: 'Rekognition gave these answers for the same picture at an earlier time; they are replayed from this machine.',
    }
  }
  if (version.startsWith('made up ')) {
    return {
      kind: 'made up',
      title: 'Made-up results.',
      text: 'A person wrote these answers for a try or a test. They say nothing about the picture.',
    }
  }
  return undefined
}

/** @param {NonNullable<ReturnType<typeof noticeFor>>} notice */
export const noticeElement = ({ title, text, command }) =>
  h('p', { className: 'notice' }, h('strong', {}, title), ` ${text} `, command && h('code', {}, command))

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

/** What a photo waits for while no worker has it. */
const WAITS_TEXTS = {
  quota: 'Waiting its turn',
  budget: 'Waiting for the month’s budget',
  retry: 'Waiting to be tried again',
}

/** @param {Photo} photo */
export function statusText({ phase, sent, note, problem, record, file }) {
  if (note) return note
  if (phase === 'awaiting_upload' && file) return 'Queued'
  if (phase === 'uploading') return sent < 100 ? `Uploading ${sent}%` : 'Uploaded, almost there'
  // Lists have the number, records the faces.
  const faces = record?.faceCount ?? record?.rekognitionFaces?.length
  if (phase === 'completed' && faces) return `Completed · ${counted(faces, 'face')}`
  if (phase === 'rejected' && problem?.again) return 'Not sent'
  if (phase === 'processing' && record?.waits) return WAITS_TEXTS[record.waits.for] ?? STATUS_TEXTS[phase]
  return STATUS_TEXTS[phase]
}

/** Said to those who do not see the page. Many at once become one sentence. @type {string[]} */
let updates = []
/** What the last search found. No number of updates hides it. */
let found = ''

/** @param {string} sentence */
export function announce(sentence) {
  speakSoon()
  updates.push(sentence)
}

/** Said to all, and shown below the choice of photos. @param {string} sentence an empty one removes the one before */
export function note(sentence) {
  setText(byId('note', HTMLElement), sentence)
  if (sentence) announce(sentence)
}

/** @param {string} sentence about the whole list, in place of what was to be said of it before */
export function announceList(sentence) {
  speakSoon()
  found = sentence
}

function speakSoon() {
  if (updates.length > 0 || found) return
  setTimeout(() => {
    // Behind an open dialog nothing is read out, so the dialog has a voice of its own.
    const open = document.querySelector('dialog[open] [role=status]')
    const voice = open ?? byId('live', HTMLElement)
    const summary = byId('summary', HTMLElement).textContent
    const happened = updates.length > 3 ? [`${updates.length} updates. ${summary}`] : updates
    voice.textContent = [...happened, found].filter(Boolean).join(' ')
    updates = []
    found = ''
  }, 700)
}
