import { Logger } from '@aws-lambda-powertools/logger'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { S3Client } from '@aws-sdk/client-s3'
import { SQSClient } from '@aws-sdk/client-sqs'
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb'
import { handle, type LambdaContext, type LambdaEvent } from 'hono/aws-lambda'
import { clientOptions, dynamoTranslation, elapsed, s3Options, sleep, sqsOptions } from '../shared/aws.ts'
import { readApiConfig, readAuthConfig } from '../shared/config.ts'
import { type ApiDeps, buildApp } from './app.ts'
import { identifyBy } from './auth.ts'
import { bucketOrigin, loadDocs, loadPage } from './page.ts'
import { newImageId, postForms } from './submit.ts'

const config = readApiConfig(process.env)
const auth = readAuthConfig(process.env)
const s3 = new S3Client(s3Options())
const deps: Omit<ApiDeps, 'page' | 'docs'> = {
  s3,
  sqs: new SQSClient(sqsOptions()),
  dynamo: DynamoDBDocumentClient.from(new DynamoDBClient(clientOptions()), dynamoTranslation),
  bucket: config.IMAGE_BUCKET,
  table: config.IMAGE_TABLE,
  jobQueueUrl: config.JOB_QUEUE_URL,
  maxImageBytes: config.MAX_IMAGE_BYTES,
  maxUploadBytes: config.MAX_UPLOAD_BYTES,
  presignPost: postForms(s3, config.IMAGE_BUCKET),
  analyses: config.ANALYSES,
  ...(config.RETENTION_DAYS === undefined ? {} : { retentionDays: config.RETENTION_DAYS }),
  ...(config.DAILY_IMAGE_QUOTA === undefined ? {} : { dailyImageQuota: config.DAILY_IMAGE_QUOTA }),
  ...(config.CORS_ORIGINS === undefined ? {} : { corsOrigins: config.CORS_ORIGINS }),
  sweepAfterMs: config.SWEEP_AFTER_SECONDS * 1000,
  now: () => new Date(),
  elapsed,
  sleep,
  newImageId,
  auth: auth.AUTH,
  identify: identifyBy(auth),
  log: new Logger({ serviceName: 'image-analyzer-api' }),
}
// Not awaited here, so that the import does not wait for a signature that only the page needs.
const answer = bucketOrigin(s3, config.IMAGE_BUCKET).then((origin) =>
  handle(buildApp({ ...deps, page: loadPage(origin, config.MAX_IMAGE_BYTES), docs: loadDocs })),
)

/** API Gateway's REST API (payload 1.0) and HTTP API (payload 2.0) alike. */
export const handler = async (event: LambdaEvent, context: LambdaContext) =>
  (await answer)(withoutBody(withoutStage(event)), context)

/** An HTTP API with a named stage puts the stage into the path (a REST API does not); routes begin behind it. */
function withoutStage(event: LambdaEvent): LambdaEvent {
  if (!('rawPath' in event) || !('stage' in event.requestContext)) return event
  const prefix = `/${event.requestContext.stage}`
  const { rawPath } = event
  if (rawPath !== prefix && !rawPath.startsWith(`${prefix}/`)) return event
  return { ...event, rawPath: rawPath.slice(prefix.length) || '/' }
}

/** A GET may carry a body over HTTP, but not in the Request that Hono makes of it: that would throw before any route. */
function withoutBody(event: LambdaEvent): LambdaEvent {
  const { requestContext } = event
  const method =
    'httpMethod' in event
      ? event.httpMethod
      : 'http' in requestContext
        ? requestContext.http.method
        : undefined
  return method === 'GET' || method === 'HEAD' ? { ...event, body: null, isBase64Encoded: false } : event
}
