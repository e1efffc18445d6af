export { type FolderOwner, openDataFolder, UnusableFolder } from './data-folder.ts'
export { readIfThere } from './files.ts'
export { AwsError, type JsonService } from './json.ts'
export { isKnownHost, UNKNOWN_HOST } from './origins.ts'
export {
  type BatchHandler,
  type EventSourceMapping,
  failedMessages,
  startPoller,
  toRecord,
} from './poller.ts'
export { Unreadable } from './rekognition/errors.ts'
export { MAX_S3_BYTES, type OpenImages, type Picture } from './rekognition/images.ts'
export { createRekognition, type RekognitionOptions } from './rekognition/index.ts'
export { countRecordings, createRecordings, type Recall } from './rekognition/recordings.ts'
export { type EmbeddedAws, type EmbeddedAwsOptions, startEmbeddedAws, startService } from './server.ts'
export { type Credentials, encode, isSame, signRequest } from './signature-v4.ts'
export { isDiskFull } from './storage.ts'
