/** Events as API Gateway and SQS send them (AWS Lambda developer guide), with what the functions read of them. */

const headers = { host: 'abc123.execute-api.eu-central-1.amazonaws.com', accept: '*/*' }

/** API Gateway's REST API, payload 1.0. */
export const restEvent = (httpMethod: string, path: string, type?: string, body?: Buffer) => {
  const sent = { ...headers, ...(type === undefined ? {} : { 'content-type': type }) }
  return {
    resource: '/{proxy+}',
    path,
    httpMethod,
    headers: sent,
    multiValueHeaders: Object.fromEntries(Object.entries(sent).map(([name, value]) => [name, [value]])),
    queryStringParameters: null,
    multiValueQueryStringParameters: null,
    pathParameters: { proxy: path.slice(1) },
    stageVariables: null,
    requestContext: {
      accountId: '123456789012',
      apiId: 'abc123',
      domainName: headers.host,
      httpMethod,
      identity: { sourceIp: '192.0.2.1', userAgent: 'curl/8.0' },
      path: `/v1${path}`,
      protocol: 'HTTP/1.1',
      requestId: 'c6af9ac6-7b61-11e6-9a41-93e8deadbeef',
      requestTimeEpoch: 1_763_856_000_000,
      resourcePath: '/{proxy+}',
      stage: 'v1',
    },
    body: body?.toString('base64') ?? null,
    isBase64Encoded: body !== undefined,
  }
}

/** API Gateway's HTTP API, payload 2.0, with a named stage, which is part of its path. */
export const httpEvent = (method: string, path: string, type?: string, body?: Buffer) => ({
  version: '2.0',
  routeKey: '$default',
  rawPath: `/v1${path}`,
  rawQueryString: '',
  headers: { ...headers, ...(type === undefined ? {} : { 'content-type': type }) },
  requestContext: {
    accountId: '123456789012',
    apiId: 'abc123',
    domainName: headers.host,
    domainPrefix: 'abc123',
    http: { method, path: `/v1${path}`, protocol: 'HTTP/1.1', sourceIp: '192.0.2.1', userAgent: 'curl/8.0' },
    requestId: 'JKJaXmPLvHcESHA=',
    routeKey: '$default',
    stage: 'v1',
    time: '23/Nov/2025:00:00:00 +0000',
    timeEpoch: 1_763_856_000_000,
  },
  ...(body === undefined ? {} : { body: body.toString('base64') }),
  isBase64Encoded: body !== undefined,
})

export const sqsEvent = (...bodies: string[]) => ({
  Records: bodies.map((body, index) => ({
    messageId: `059f36b4-87a3-44ab-83d2-66197${String(index).padStart(7, '0')}`,
    receiptHandle: `receipt-${index}`,
    body,
    attributes: {
      ApproximateReceiveCount: '1',
      SentTimestamp: '1763856000000',
      SenderId: 'AIDAIENQZJOLO23YVJ4VO',
      ApproximateFirstReceiveTimestamp: '1763856000100',
    },
    messageAttributes: {},
    md5OfBody: '',
    eventSource: 'aws:sqs',
    eventSourceARN: 'arn:aws:sqs:eu-central-1:123456789012:image-analyzer-jobs',
    awsRegion: 'eu-central-1',
  })),
})
